"""Teach a checkpoint to answer: supervised fine-tuning on conversations.

CKPT is a run's folder, a study's (which stands for its verification run), or a Hugging Face folder. DATA is
a file (.jsonl, .json, .parquet, .arrow), a folder of them, or a data set's name on Hugging Face's hub. A
record is {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}, ShareGPT's
"conversations", or Alpaca's "instruction", "input" and "output". Or it is the word gold: demonstrations of a
small world whose true reward is known (it needs a vocabulary of bytes). The loss is on what the assistant
says, and one conversation in twenty, by the hash of its prompt, is held out to measure it.

What comes out is a run like any other: `isoflop sample RUN --chat`, `isoflop evaluate RUN` and `isoflop
export RUN` read it, adapters merged. Started again it continues, or says that it is done.

Example: isoflop sft out/quickstart conversations.jsonl --out out/sft --epochs 3
"""

import functools
from pathlib import Path
from typing import Any

from absl import flags

from launch.arguments import posttraining
from launch.monitor.text import short
from launch.workers import foreground
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop sft CKPT DATA|gold --out RUN [flags]"
posttraining.define_flags(FLAGS)
flags.DEFINE_integer(
    "patience", 0, "end after so many of 16 evaluations without a lower loss, and keep the best; 0 is off", 0,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_enum(
    "weight_by",
    "token",
    ["token", "example"],
    "whether tokens or conversations count alike",
    flag_values=FLAGS,
)


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Trains the run and writes result.json into its folder."""
    if len(args) != 2 or not flags.out:
        raise ValueError(f"expected a checkpoint, data and --out, got {args}; usage: {USAGE}")
    prepare_process()  # before anything imports jax
    from experiments.objective_configs import ExamplesConfig, GoldConfig, SFTConfig

    checkpoint, data = args
    examples = ExamplesConfig("conversations", data, posttraining.template_of(checkpoint, flags.template))
    if data == "gold":
        examples = ExamplesConfig("gold", gold=GoldConfig())
    config = posttraining.run_from(
        checkpoint, examples, SFTConfig(weight_by=flags.weight_by, patience=flags.patience), flags
    )
    keep = functools.partial(posttraining.keep_tokenizer, config)
    return foreground.train_and_report(config, Path(flags.out), flags.mesh, _summary, keep)


def _summary(row: dict[str, Any], path: Path) -> str:
    train = row["data"]["splits"]["train"]
    said = f"{train['n_examples']:,} conversations, {short(train['n_response_tokens'])} response tokens"
    cut = f", {train['n_truncated']:,} cut, {train['n_left_out']:,} left out"
    said += cut if train["n_truncated"] + train["n_left_out"] else ""
    if row["status"] != "done":
        return f"diverged at step {row['n_steps']:,}; lower --lr · {said} · {path}"
    stopped = row["post_training"].get("stopped_after")
    early = stopped and stopped != row["n_steps"]
    said += f" · the best of {stopped:,} steps was {row['n_steps']:,}" if early else ""
    loss = f"loss {row['loss']:.4f} ± {row['loss_se']:.4f} nats per response token"
    accuracy = f"accuracy {row['post_training']['accuracy']:.1%}"
    return f"done: {loss} · {accuracy} · {row['epochs']:.1f} epochs of {said} · {path}"
