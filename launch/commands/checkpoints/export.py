"""Write a checkpoint for transformers and the programs that read its format: config.json and safetensors.

CKPT is a run's folder, or a study's, which stands for its verification run. Parameters are written as
float32. Scales that the Hugging Face architecture does not have (muP's, the embedding's) are folded into
them: the same function. Adapters are merged. A reward model becomes a …ForSequenceClassification whose number
is the reward less score_bias of config.json, if that is there. isoflop.json keeps the run's configuration,
for `isoflop import`. A tokenizer is written where tokens are bytes, or the checkpoint's folder has one; as in
training, a text begins with the token that ends one.

Example: isoflop export out/quickstart --out out/quickstart-hf
"""

import dataclasses
import json
import sys
from pathlib import Path

from absl import flags

from experiments.files import read_json
from launch.arguments.hf_folders import copy_tokenizer_files, write_byte_tokenizer
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop export CKPT --out DIR_HF"
flags.DEFINE_string("out", None, "folder to make", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Writes the newest checkpoint of the run."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected one run or study folder and --out, got {args}; usage: {USAGE}")
    prepare_process()  # before anything imports jax
    from experiments.data.vocabularies.hugging_face import special_ids
    from experiments.evaluate.loaded_model import EXPORTED, find_run
    from experiments.fields import to_json
    from experiments.objective_configs import ClassifierConfig, RewardConfig
    from experiments.training.checkpoints.load import load_whole
    from models import TransformerConfig, hf
    from models.hf.files import whole_folder

    source, out = find_run(Path(args[0])), Path(flags.out)
    if source != Path(args[0]):
        print(f"exporting the study's verification run, {source}", file=sys.stderr)
    with whole_folder(out) as folder:
        config, objective, whole = load_whole(source)
        has_head = isinstance(config.objective, RewardConfig | ClassifierConfig)
        if isinstance(config.objective, ClassifierConfig) and config.objective.pool != "last":
            raise ValueError(
                f"export: a classifier of pool={config.objective.pool!r}; …ForSequenceClassification reads "
                "the last token: train it with pool='last'"
            )
        params = whole["body"] if has_head else objective.network(whole)
        model = config.model
        if isinstance(model, TransformerConfig) and not model.max_len:
            model = dataclasses.replace(model, max_len=config.seq_len)
        hf.save(model, params, folder, head=whole["head"] if has_head else None)
        (folder / EXPORTED).write_text(json.dumps(to_json(config), indent=1) + "\n")
        copy_tokenizer_files(source, folder)
        if config.data.vocab == "bytes" and not (folder / "tokenizer_config.json").is_file():
            write_byte_tokenizer(folder)
        described = read_json(folder / "config.json")
        if config.data.vocab == "imported":
            ends = special_ids(source)
            (folder / "config.json").write_text(json.dumps(described | ends, indent=2) + "\n")
        [name] = described.get("architectures", [model.family])
    print(f"{out}: {name}")
    return 0
