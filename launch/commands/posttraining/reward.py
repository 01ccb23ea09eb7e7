"""Teach a checkpoint which of two responses is preferred: a reward model.

CKPT is a run's folder, a study's (which stands for its verification run), or a Hugging Face folder.
PAIRS is a file (.jsonl, .json, .parquet, .arrow), a folder of them, or a data set's name on Hugging Face's
hub. A record is {"prompt": "…", "chosen": "…", "rejected": "…"}; or has as "chosen" and "rejected" whole
conversations, as messages (UltraFeedback) or text (HH-RLHF); or {"prompt", "responses": {"A": "…", …},
"ranking": "A > B = C"}. Or it is the word gold: pairs of a small world whose true reward is known (it needs a
vocabulary of bytes). Pairs that do not fit into a row are left out, and one prompt in twenty is held out.

What comes out is a run whose network gives a number for a response, at its last token: `isoflop rl --reward
RUN` maximises it, `isoflop export RUN` writes it as …ForSequenceClassification. Started again it continues,
or says that it is done. Settings of the loss are fields of the run's objective: --set objective.centring=0.

Example: isoflop reward out/sft pairs.jsonl --out out/reward
"""

import functools
from pathlib import Path
from typing import Any

from absl import flags

from launch.arguments import posttraining
from launch.workers import foreground
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop reward CKPT PAIRS|gold --out RUN [flags]"
posttraining.define_flags(FLAGS)


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Trains the run and writes result.json into its folder."""
    if len(args) != 2 or not flags.out:
        raise ValueError(f"expected a checkpoint, pairs and --out, got {args}; usage: {USAGE}")
    prepare_process()  # before anything imports jax
    from experiments.objective_configs import RewardConfig

    checkpoint, source = args
    examples = posttraining.pairs(source, posttraining.template_of(checkpoint, flags.template))
    config = posttraining.run_from(checkpoint, examples, RewardConfig(), flags)
    keep = functools.partial(posttraining.keep_tokenizer, config)
    return foreground.train_and_report(config, Path(flags.out), flags.mesh, _summary, keep)


def _summary(row: dict[str, Any], path: Path) -> str:
    said = posttraining.count_pairs(row)
    if row["status"] != "done":
        return f"diverged at step {row['n_steps']:,}; lower --lr · {said} · {path}"
    found = row["post_training"]
    gold = f", of the true reward {found['gold_accuracy']:.1%}" if "gold_accuracy" in found else ""
    accuracy = f"accuracy {found['accuracy']:.1%}{gold}, {found['overconfidence']:+.1%} too sure"
    return f"done: loss {row['loss']:.4f} ± {row['loss_se']:.4f} nats per pair · {accuracy} · {said} · {path}"
