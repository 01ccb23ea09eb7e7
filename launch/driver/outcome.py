"""How driving a study ended, as messages and exit codes of a command."""

import sys
from collections.abc import Callable

from launch.driver.drive import Interrupted, RunsLeft
from launch.monitor.text import n_runs
from launch.store import Store
from launch.workers.pool import WorkersFailed

INTERRUPTED = 130


def exit_code_of(store: Store, action: Callable[[], str]) -> int:
    """Prints what an action on the study returns; returns the exit code: 0, 1 if runs are left, 130 if
    interrupted."""
    try:
        print(action())
        return 0
    except RunsLeft as error:
        return report_left(store, error.run_ids)
    except WorkersFailed as error:
        print(f"isoflop: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        return INTERRUPTED


def report_left(store: Store, run_ids: list[str]) -> int:
    """Says which runs ended without a result, why, and what to do; returns the exit code."""
    snapshot = store.snapshot()
    n_failed = sum(snapshot.states[run_id] == "failed" for run_id in run_ids)
    words = [f"{n_runs(n_failed)} failed"] if n_failed else []
    if n_failed < len(run_ids):
        words.append(f"{n_runs(len(run_ids) - n_failed)} cancelled")
    print(f"isoflop: {' and '.join(words)}, for example", file=sys.stderr)
    for run_id in run_ids[:5]:
        why = store.error(run_id, snapshot.attempts[run_id]) if run_id in snapshot.attempts else "cancelled"
        print(f"  {run_id}: {why} (isoflop logs {store.argument} {run_id})", file=sys.stderr)
    print(f"`isoflop retry {store.argument}` gives them new attempts, then continue", file=sys.stderr)
    return 1
