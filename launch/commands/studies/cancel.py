"""Cancel a study: its runs, and the jobs that were submitted for it. With RUN only those runs, which may be
shortened; the others go on. Runs that are training are left at once; `isoflop retry` takes all back.

Example: isoflop cancel out/quickstart 3f2a
"""

from absl import flags

from launch.arguments.studies import chosen_runs, open_study
from launch.backends import backends_of
from launch.monitor.text import n_runs
from launch.store import UNFINISHED

FLAGS = flags.FlagValues()
USAGE = "isoflop cancel DIR [RUN …]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Marks the runs, and cancels the jobs where no run is named."""
    store = open_study(args[:1], USAGE)
    named = chosen_runs(store, args[1:])
    marked = [r for r, state in store.states().items() if r in named and state in (*UNFINISHED, "failed")]
    store.cancel(marked)
    print(f"cancelled {n_runs(len(marked))}; `isoflop retry {store.argument}` takes that back")
    if len(args) == 1:
        for backend, jobs in backends_of(store):
            print(f"{jobs[0]['backend']}: {backend.cancel(jobs)}")
    return 0
