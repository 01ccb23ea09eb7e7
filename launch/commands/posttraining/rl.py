"""Improve a checkpoint by a reward: it samples responses to prompts and learns from how good they are.

CKPT is a run's folder, a study's (which stands for its verification run), or a Hugging Face folder. PROMPTS
is a file (.jsonl, .json, .parquet, .arrow), a folder of them, or a data set's name on Hugging Face's hub; a
record is {"prompt": "…"} or a conversation, which is answered anew. Or it is the word gold: prompts of a
small world whose true reward is known (it needs a vocabulary of bytes).

--reward is the folder of a reward model (isoflop reward), or gold; or exact, for records {"prompt": "…",
"answer": "…"}: the right answer is worth 1, --abstention 0, and all else -t / (1 - t) for t = --threshold, so
that to answer pays where it is right with a probability above t. The algorithm is ppo, or one without a
value function: grpo, dr_grpo, rloo; or rejection, which fine-tunes on the best of --group_size responses.
What is maximised is the reward less beta times the divergence from CKPT. All else of an algorithm is a field
of the run's objective: --set objective.epochs=2.

What comes out is a run like any other: `isoflop sample RUN --chat` and `isoflop export RUN` read it. Started
again it continues, or says that it is done. What went wrong is named.

Example: isoflop rl out/sft prompts.jsonl --reward out/reward --out out/rl --beta 0.05
"""

import functools
import sys
from pathlib import Path
from typing import Any

from absl import flags

from launch.arguments import posttraining
from launch.workers import foreground
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop rl CKPT PROMPTS|gold --reward REWARD_RUN|exact|gold --out RUN [flags]"
ADVANTAGES = ("grpo", "dr_grpo", "rloo")
posttraining.define_flags(FLAGS)
flags.DEFINE_enum(
    "algorithm", "ppo", ["ppo", *ADVANTAGES, "rejection"], "what learns from the rewards", flag_values=FLAGS
)
flags.DEFINE_string(
    "reward",
    None,
    "folder of a reward model, exact, or gold (the default of prompts that are)",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "threshold", 0.0, "t of --reward exact, whose wrong answers cost t / (1 - t)", flag_values=FLAGS
)
flags.DEFINE_string(
    "abstention", "I don't know.", "the response that abstains, of --reward exact", flag_values=FLAGS
)
flags.DEFINE_float("beta", None, "weight of the divergence (default 0.05)", 0.0, flag_values=FLAGS)
flags.DEFINE_integer("max_new", 32, "most tokens of a response", 1, flag_values=FLAGS)
flags.DEFINE_integer(
    "group_size", 4, "responses to each prompt of a batch, but for ppo", 2, flag_values=FLAGS
)


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Trains the run and writes result.json into its folder."""
    if len(args) != 2 or not flags.out:
        raise ValueError(f"expected a checkpoint, prompts and --out, got {args}; usage: {USAGE}")
    checkpoint, prompts = args
    reward = _reward(prompts, flags.reward)
    prepare_process()  # before anything imports jax
    from experiments.objective_configs import ExamplesConfig, GoldConfig
    from experiments.posttraining.rl.diagnosis import diagnose
    from experiments.training.metrics import read

    template = posttraining.template_of(checkpoint, flags.template)
    examples = ExamplesConfig("prompts", prompts, template)
    if reward == "exact":
        examples = ExamplesConfig("questions", prompts, template, abstention=flags.abstention)
    if prompts == "gold":
        examples = ExamplesConfig("gold", gold=GoldConfig())
    config = posttraining.run_from(checkpoint, examples, _objective(reward, flags), flags)
    keep = functools.partial(posttraining.keep_tokenizer, config)

    def summary(row: dict[str, Any], path: Path) -> str:
        for sentence in diagnose(config, read(path.parent / "metrics.jsonl")):
            print(sentence, file=sys.stderr)
        return _summary(row, path)

    return foreground.train_and_report(config, Path(flags.out), flags.mesh, summary, keep)


def _reward(prompts: str, reward: str | None) -> str:
    """The source of the reward, as a run keeps it."""
    if reward is None and prompts != "gold":
        raise ValueError("--reward is missing; give the folder of a reward model (isoflop reward makes one)")
    if reward == "gold" and prompts != "gold":
        raise ValueError(
            f"--reward gold with PROMPTS={prompts}; the true reward is known of gold prompts only"
        )
    if reward == "exact" and prompts == "gold":
        raise ValueError("--reward exact with PROMPTS=gold; it is for questions with answers, from a file")
    return reward or "gold" if reward in (None, "gold", "exact") else posttraining.absolute(reward)


def _objective(reward: str, flags: flags.FlagValues) -> Any:
    """The configuration of the algorithm."""
    from experiments.objective_configs import GRPOConfig, PPOConfig, RejectionConfig

    given: dict[str, Any] = {"reward": reward, "max_new": flags.max_new, "threshold": flags.threshold}
    if flags.algorithm == "rejection":
        if flags.beta is not None:
            raise ValueError("--beta with --algorithm rejection, which has no such term; leave it out")
        return RejectionConfig(n=flags.group_size, **given)
    given |= {} if flags.beta is None else {"beta": flags.beta}
    if flags.algorithm in ADVANTAGES:
        return GRPOConfig(advantage=flags.algorithm, group_size=flags.group_size, **given)
    return PPOConfig(**given)


def _summary(row: dict[str, Any], path: Path) -> str:
    said = f"{row['data']['splits']['train']['n_prompts']:,} prompts"
    if row["status"] != "done":
        return f"diverged at step {row['n_steps']:,} · {said} · {path}"
    found = row["post_training"]
    gold = f" · true reward {found['gold']:.3f}" if "gold" in found else ""
    if "right" in found:
        gold += f" · {found['right']:.0%} right, {found['abstained']:.0%} abstained"
    reward = f"reward {found['reward']:.3f}{gold} at KL {found['kl']:.2f} nats"
    length = f"{found['length']:.1f} tokens a response, {found['truncated']:.0%} cut off"
    return f"done: {reward} · {length} · {row['epochs']:.1f} epochs of {said} · {path}"
