"""Turn a Hugging Face checkpoint into a run's folder, for sample, evaluate, sft, dpo, rl, serve and export.

The folder has parameters and no training: in its config.json, optimizer, schedule and tokens are stand-ins,
and import.json says where the parameters come from. What `isoflop export` wrote comes back with its data and
its vocabulary. Tokenizers of others are kept in the folder with their added tokens, chat template and the
tokens that end a text, and go back out: tokenizer.json (needs pip install tokenizers), tokenizer.model or
spiece.model. Where tokens are bytes and no tokenizer says so, give --vocab bytes.

Example: isoflop import ~/models/Qwen3-0.6B --out out/qwen3
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from launch.arguments.hf_folders import copy_tokenizer_files
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop import DIR_HF --out CKPT [flags]"
flags.DEFINE_string("out", None, "folder to make", flag_values=FLAGS)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "type to compute in", flag_values=FLAGS)
flags.DEFINE_enum("vocab", None, ["bytes"], "read tokens as bytes, numbered as ByT5 does", flag_values=FLAGS)
flags.DEFINE_integer(
    "seq_len", None, "context of sample and evaluate (default: what it is meant for, 2048 at most)", 1,
    flag_values=FLAGS,
)  # fmt: skip


def run(args: list[str], flags) -> int:
    """Reads the checkpoint and writes a run's folder."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected a checkpoint and --out, got {args}; usage: {USAGE}")
    source, out = Path(args[0]), Path(flags.out)
    prepare_process()  # before anything imports jax
    import numpy as np

    import models
    from experiments.fields import to_json
    from experiments.training.checkpoints.checkpoint import Checkpoints
    from models import hf
    from models.hf.files import whole_folder

    with whole_folder(out) as folder:
        model, params = hf.load(source, flags.dtype)
        config = _run_config(source, model, flags)
        made = {"from": str(source.absolute()), "dtype": flags.dtype}
        (folder / "config.json").write_text(json.dumps(to_json(config), indent=1) + "\n")
        (folder / "import.json").write_text(json.dumps(made, indent=1) + "\n")
        copy_tokenizer_files(source, folder)
        checkpoints = Checkpoints(folder / "checkpoints")
        checkpoints.save(0, params, {"none": np.zeros(1)}, {"step": 0} | made)
        checkpoints.close()
    print(f"{out}: {models.count(model).n_total:,} parameters, {config.model.family}")
    if config.data.vocab == "imported":
        print(_tokenizer(out))
    return 0


def _tokenizer(out: Path) -> str:
    """What the folder's tokenizer is, or why it cannot be read."""
    from experiments.data.vocab import hugging_face_vocab
    from experiments.data.vocabularies.hugging_face import special_ids
    from experiments.posttraining.data.chat_template import has_template

    try:
        vocab = hugging_face_vocab(out)
    except ValueError as error:
        return f"no tokenizer: {error}; without one it is used by token ids, from Python"
    ends = special_ids(out).get("eos_token_id", [vocab.eos_id])
    template = "a chat template" if has_template(out) else "no chat template"
    return f"tokenizer of {vocab.size:,} tokens, {template}; a text ends with {' or '.join(map(str, ends))}"


def _run_config(source: Path, model, flags):
    """The run that was exported, or a stand-in for one that never was."""
    from experiments.data_configs import DataConfig
    from experiments.evaluate.loaded_model import run_of
    from experiments.objective_configs import SFTConfig

    config = run_of(source, model, flags.seq_len)
    data = config.data
    if data.vocab == "imported":  # the tokenizer beside the run, wherever that is
        data = DataConfig() if flags.vocab else dataclasses.replace(data, path="")
    if flags.vocab and model.vocab_size < data.vocab_size:
        raise ValueError(f"--vocab bytes needs {data.vocab_size} tokens; {source} has {model.vocab_size}")
    changed: dict[str, Any] = {"init": None, "micro_batches": 1, "data": data}  # the parameters are whole
    if config.objective:
        changed["objective"] = SFTConfig()  # a stand-in, with which it keeps its chat template
    return dataclasses.replace(config, **changed)
