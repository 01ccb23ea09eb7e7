"""Turn responses that a policy sampled into preferences: pairs for isoflop dpo and isoflop reward.

SAMPLES is what `isoflop sample CKPT --chat --prompts FILE --n N` prints: several responses to each prompt.
--reward is who scores them: the folder of a reward model (isoflop reward), or gold, the true reward of the
small world. Of each prompt the best and the worst response make a pair, or each two with --pairs all; equal
rewards make none, and responses that were cut off, are empty or were there already are left out.
--temperature is that of an annotator who errs (Bradley and Terry), in units of reward.

Pairs of a policy's own samples, labelled anew in each round, make DPO iterative:

  isoflop sample out/sft --chat --prompts prompts.jsonl --n 8 > samples.jsonl
  isoflop label samples.jsonl --reward out/reward --out pairs.jsonl
  isoflop dpo out/sft pairs.jsonl --out out/dpo1

Example: isoflop label samples.jsonl --reward out/reward --out pairs.jsonl
"""

from pathlib import Path

from absl import flags

from experiments.files import write_atomic
from launch.arguments.tables_and_fits import check_out
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop label SAMPLES --reward REWARD_RUN|gold --out PAIRS"
flags.DEFINE_string("reward", None, "folder of a reward model, or gold", flag_values=FLAGS)
flags.DEFINE_string("out", None, "the file of pairs, .jsonl", flag_values=FLAGS)
flags.DEFINE_enum(
    "pairs", "extremes", ["extremes", "all"], "the best against the worst, or each two", flag_values=FLAGS
)
flags.DEFINE_float("temperature", 0.0, "of who labels; 0 makes no mistake", 0.0, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the mistakes", 0, flag_values=FLAGS)


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Writes the pairs, and says how many."""
    if len(args) != 1 or not flags.reward or not flags.out:
        raise ValueError(f"expected samples, --reward and --out, got {args}; usage: {USAGE}")
    if not flags.out.endswith(".jsonl"):
        raise ValueError(f"--out {flags.out}: pairs are read from a .jsonl file; name it so")
    check_out(flags.out)
    prepare_process()  # before anything imports jax
    from experiments.evaluate.samples.labels import label

    lines, about = label(args[0], flags.reward, flags.pairs, flags.temperature, flags.seed)
    write_atomic(Path(flags.out), "".join(line + "\n" for line in lines))
    n_pairs = about["n_pairs"]
    said = f"{n_pairs:,} pair{'' if n_pairs == 1 else 's'} of {about['n_prompts']:,} prompts"
    rewards = f"reward {about['reward']:.3f}, of the best {about['best']:.3f}"
    print(f"{said} · {rewards} · {about['left_out']} · {flags.out}")
    return 0
