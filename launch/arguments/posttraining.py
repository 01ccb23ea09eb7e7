"""What commands of post-training share: flags, and the run that they and a checkpoint make."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from experiments.files import read_json
from launch.arguments.hf_folders import copy_tokenizer_files

HF_LR = 1e-5  # of checkpoints that others trained: nobody says with what learning rate
SOFTER = 0.1  # times the learning rate of pretraining; adapters take all of it
ROWS = 16
NAMED_TEMPLATES = ("default", "gold")  # `experiments.posttraining.data.chat_template.NAMED`


def define_flags(values: absl_flags.FlagValues) -> None:
    """The flags of all commands that train from a checkpoint."""
    text, integer, number = absl_flags.DEFINE_string, absl_flags.DEFINE_integer, absl_flags.DEFINE_float
    text("out", None, "folder of the run", flag_values=values)
    number("epochs", 1.0, "times to go through the examples", 0.0, 1e6, flag_values=values)
    number(
        "lr",
        None,
        "peak (default: a tenth of pretraining's; of adapters, all of it)",
        0.0,
        flag_values=values,
    )
    integer("batch_size", ROWS, "rows of a batch", 1, flag_values=values)
    integer("micro_batches", 1, "parts in which a batch is computed, to save memory", 1, flag_values=values)
    integer("seq_len", None, "tokens of a row (default: as it was pretrained)", 1, flag_values=values)
    integer("seed", 0, "seed of the run", flag_values=values)
    absl_flags.DEFINE_list(
        "train", [], "patterns of the parameters to train: 'blocks/*',head (default: all)", flag_values=values
    )
    integer("lora_rank", 0, "train low-rank adapters of this rank instead; 0 is off", 0, flag_values=values)
    absl_flags.DEFINE_multi_string(
        "set",
        [],
        "FIELD=VALUE of the run's configuration, such as optimizer.weight_decay=0",
        flag_values=values,
    )
    text("mesh", "", "spread the run over all devices: data=2,fsdp=4", flag_values=values)
    text(
        "template",
        None,
        "chat template: default, gold, a .jinja file, a Hugging Face folder (default: the checkpoint's own)",
        flag_values=values,
    )


def run_from(checkpoint: str, examples: Any, objective: Any, flags: absl_flags.FlagValues) -> Any:
    """The RunConfig of an objective on some examples that starts from a checkpoint.

    Its model, vocabulary and length of rows are the checkpoint's. As many steps as `--epochs` ask for: the
    examples are prepared here, and their fingerprint is part of the run.

    Args:
      checkpoint: a run's folder, a study's (which stands for its verification run), or a Hugging Face folder.
      examples: ExamplesConfig.
      objective: its configuration, such as SFTConfig.
      flags: values of `define_flags`.

    Raises:
      ValueError: no checkpoint there, examples that cannot be prepared, or flags that do not fit.
    """
    from experiments.config import ScheduleConfig
    from experiments.evaluate.checkpoint_paths import find_run, is_hugging_face
    from experiments.fields import apply_overrides
    from experiments.objective_configs import InitConfig, LoRAConfig
    from experiments.training.checkpoints.load import read_config
    from experiments.training.objectives import data_of

    folder = find_run(Path(checkpoint)).absolute()
    base: Any = _of_hugging_face(folder) if is_hugging_face(folder) else read_config(folder)
    lora = LoRAConfig(rank=flags.lora_rank) if flags.lora_rank else None
    lr = flags.lr
    if lr is None:
        lr = HF_LR if is_hugging_face(folder) else base.optimizer.lr * (1.0 if lora else SOFTER)
    seq_len = flags.seq_len or base.seq_len
    config = dataclasses.replace(
        base,
        optimizer=dataclasses.replace(base.optimizer, lr=lr),
        schedule=ScheduleConfig(),
        seq_len=seq_len,
        batch_tokens=flags.batch_size * seq_len,
        n_tokens=flags.batch_size * seq_len,
        micro_batches=flags.micro_batches,
        seed=flags.seed,
        init=InitConfig(source=str(folder), train=tuple(flags.train), lora=lora),
        examples=examples,
        objective=objective,
    )
    config = apply_overrides(config, flags.set)
    data = data_of(config)
    n_steps = max(1, round(flags.epochs * data.tokens_an_epoch / config.batch_tokens))
    fixed = dataclasses.replace(config.examples, fingerprint=data.manifest.get("fingerprint", ""))
    config = dataclasses.replace(config, n_tokens=n_steps * config.batch_tokens, examples=fixed)
    return apply_overrides(config, flags.set)  # once more: --set n_tokens has the last word


def pairs(source: str, template: str) -> Any:
    """ExamplesConfig of pairs of responses: at a path, in the form of `template_of`, or of the gold world."""
    from experiments.objective_configs import ExamplesConfig, GoldConfig

    if source == "gold":
        return ExamplesConfig("gold", gold=GoldConfig())
    return ExamplesConfig("preferences", source, template)


def count_pairs(row: dict[str, Any]) -> str:
    """How many pairs a run has seen and how many it could not read, of its row."""
    train = row["data"]["splits"]["train"]
    left_out = f", {train['n_left_out']:,} too long and left out" if train["n_left_out"] else ""
    ties = f", {train['n_ties']:,} of them ties" if train.get("n_ties") else ""
    return f"{row['epochs']:.1f} epochs of {train['n_pairs']:,} pairs{ties}{left_out}"


def absolute(name: str) -> str:
    """A path as a run keeps it."""
    return str(Path(name).expanduser().absolute())


def template_of(checkpoint: str, template: str | None) -> str:
    """A template's name as a run keeps it: what --template says, else that of the checkpoint's folder, else
    the default.

    Args:
      checkpoint: as `run_from` takes it.
      template: of the flag; None where it is not given.
    """
    from experiments.evaluate.checkpoint_paths import find_run
    from experiments.posttraining.data.chat_template import has_template

    if template is None:
        folder = find_run(Path(checkpoint))
        template = str(folder) if has_template(folder) else "default"
    return template if template in NAMED_TEMPLATES else absolute(template)


def keep_tokenizer(config: Any, out: Path) -> None:
    """Copies an imported tokenizer and a Jinja template into a run's folder, for `isoflop sample --chat` and
    `isoflop export`. With a named template the run has no other.

    Args:
      config: RunConfig of the run.
      out: its folder.
    """
    template = config.examples.template
    named = config.examples.task == "gold" or template in NAMED_TEMPLATES
    out.mkdir(parents=True, exist_ok=True)
    if config.data.vocab == "imported":
        copy_tokenizer_files(Path(config.data.path), out)
    if named:
        return _drop_template(out)
    source = Path(template)
    copy_tokenizer_files(source.parent if source.is_file() else source, out)
    if source.is_file():
        shutil.copyfile(source, out / "chat_template.jinja")


def _drop_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = folder / "tokenizer_config.json"
    if settings.is_file():
        said = read_json(settings)
        said.pop("chat_template", None)
        settings.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _of_hugging_face(folder: Path) -> Any:
    """The run that was exported, or a stand-in with the folder's tokenizer as vocabulary."""
    from experiments.evaluate.loaded_model import run_of
    from models import hf

    return dataclasses.replace(
        run_of(folder, hf.load_config(folder)), init=None, examples=None, objective=None
    )
