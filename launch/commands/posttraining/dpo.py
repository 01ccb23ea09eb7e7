"""Teach a checkpoint to answer as is preferred, straight from pairs of responses (DPO, IPO, hinge).

CKPT is a run's folder, a study's (which stands for its verification run), or a Hugging Face folder; it is
also the reference that beta holds the policy to.
PAIRS is a file (.jsonl, .json, .parquet, .arrow), a folder of them, or a data set's name on Hugging Face's
hub. A record is {"prompt": "…", "chosen": "…", "rejected": "…"}; or has as "chosen" and "rejected" whole
conversations, as messages (UltraFeedback) or text (HH-RLHF); or {"prompt", "responses": {"A": "…", …},
"ranking": "A > B = C"}. Or it is the word gold: pairs of a small world whose true reward is known (it needs a
vocabulary of bytes). Pairs that do not fit into a row are left out, and one prompt in twenty is held out.

--label_smoothing is the share of labels that are taken to be wrong (cDPO). What comes out is a run like any
other: `isoflop sample RUN --chat` and `isoflop export RUN` read it. Started again it continues, or says that
it is done.

Example: isoflop dpo out/sft pairs.jsonl --out out/dpo --beta 0.1
"""

import functools
from pathlib import Path
from typing import Any

from absl import flags

from launch.arguments import posttraining
from launch.workers import foreground
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop dpo CKPT PAIRS|gold --out RUN [flags]"
posttraining.define_flags(FLAGS)
flags.DEFINE_enum("loss", "dpo", ["dpo", "ipo", "hinge"], "of a pair", flag_values=FLAGS)
flags.DEFINE_float("beta", 0.1, "weight of the divergence from the reference", 0.0, flag_values=FLAGS)
flags.DEFINE_float("label_smoothing", 0.0, "share of wrong labels", 0.0, 0.5, flag_values=FLAGS)


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Trains the run and writes result.json into its folder."""
    if len(args) != 2 or not flags.out:
        raise ValueError(f"expected a checkpoint, pairs and --out, got {args}; usage: {USAGE}")
    prepare_process()  # before anything imports jax
    from experiments.objective_configs import DPOConfig

    checkpoint, source = args
    examples = posttraining.pairs(source, posttraining.template_of(checkpoint, flags.template))
    objective = DPOConfig(loss=flags.loss, beta=flags.beta, label_smoothing=flags.label_smoothing)
    config = posttraining.run_from(checkpoint, examples, objective, flags)
    keep = functools.partial(posttraining.keep_tokenizer, config)
    return foreground.train_and_report(config, Path(flags.out), flags.mesh, _summary, keep)


def _summary(row: dict[str, Any], path: Path) -> str:
    said = posttraining.count_pairs(row)
    if row["status"] != "done":
        return f"diverged at step {row['n_steps']:,}; lower --lr · {said} · {path}"
    found = row["post_training"]
    gold = f", of the true reward {found['gold_accuracy']:.1%}" if "gold_accuracy" in found else ""
    loss = f"loss {row['loss']:.4f} ± {row['loss_se']:.4f}"
    reward = f"accuracy {found['accuracy']:.1%}{gold}, margin {found['reward_margin']:.2f}"
    return f"done: {loss} · {reward} at KL {found['kl']:.2f} nats · {said} · {path}"
