"""Print the log of a run: its attempts, warnings, and the traceback of a failure. RUN may be shortened.

Example: isoflop logs out/quickstart 3f2a
"""

import sys

from absl import flags

from launch.commands.status import open_study

FLAGS = flags.FlagValues()
USAGE = "isoflop logs DIR RUN"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints runs/RUN/log.txt."""
    if len(args) != 2:
        raise ValueError(f"expected a study folder and a run, got {args}; usage: {USAGE}")
    store = open_study(args[:1], USAGE)
    known = sorted(store.planned())
    matches = [run_id for run_id in known if run_id.startswith(args[1])]
    if len(matches) != 1:
        found = "several runs begin so" if matches else "no run begins so"
        raise ValueError(f"{args[1]}: {found}; the study has {', '.join((matches or known)[:10])} …")
    log = store.run_folder(matches[0]) / "log.txt"
    if not log.exists():
        raise ValueError(f"{matches[0]}: no log yet, because no worker has begun it")
    with open(log, errors="replace") as file:
        for line in file:
            sys.stdout.write(line)
    return 0
