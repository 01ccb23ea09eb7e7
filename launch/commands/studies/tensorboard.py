"""Training curves of a study for TensorBoard, and with --wandb for Weights & Biases. The runs are only read;
what is there already is not written again, so it may be called at any time, also while they train.

Example: isoflop tensorboard out/quickstart --follow
"""

import time
from pathlib import Path

from absl import flags

from experiments.files import read_json
from launch.arguments.studies import open_study

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder of the event files; default: tensorboard in DIR", flag_values=FLAGS)
flags.DEFINE_bool("follow", False, "go on until the study is finished", flag_values=FLAGS)
flags.DEFINE_bool("wandb", False, "send to Weights & Biases instead, if installed", flag_values=FLAGS)
USAGE = "isoflop tensorboard DIR [--follow] [--wandb]"
FOLLOW_SECONDS = 10.0


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Mirrors the metrics of all runs; with --follow until the study is finished or Ctrl-C."""
    store = open_study(args, USAGE)
    out = Path(flags.out) if flags.out else store.folder / "tensorboard"
    seen: dict[str, tuple[int, int]] = {}

    def mirror() -> int:
        if flags.wandb:
            from launch.monitor import wandb

            return wandb.mirror(store, read_json(store.folder / "study.json")["name"], seen)
        from launch.monitor import tensorboard

        return tensorboard.mirror(store, out, seen)

    over = not flags.follow or store.finished.exists()  # before mirroring: what comes after is in it
    n_added = mirror()
    where = "Weights & Biases" if flags.wandb else f"{out}; to see it: tensorboard --logdir {out}"
    print(f"{n_added} new points in {where}", flush=True)
    while not over:
        time.sleep(FOLLOW_SECONDS)
        over = store.finished.exists()
        if n_added := mirror():
            print(f"{n_added} new points", flush=True)
    return 0
