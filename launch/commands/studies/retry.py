"""Give failed and cancelled runs their attempts back; they continue from their newest checkpoints. With RUN
only those runs, which may be shortened. Then `isoflop submit` or `isoflop study` continues.

Example: isoflop retry out/quickstart
"""

from absl import flags

from launch.arguments.studies import chosen_runs, open_study
from launch.monitor.text import n_runs

FLAGS = flags.FlagValues()
USAGE = "isoflop retry DIR [RUN …]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Takes the marks away."""
    store = open_study(args[:1], USAGE)
    named = chosen_runs(store, args[1:])
    before = store.states()
    store.retry(named)
    after = store.states()
    back = [
        run_id
        for run_id in named
        if before[run_id] in ("failed", "cancelled") and after[run_id] != before[run_id]
    ]
    print(f"{n_runs(len(back))} may be trained again; continue by `isoflop submit {store.argument}`")
    return 0
