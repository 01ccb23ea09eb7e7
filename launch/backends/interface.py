"""What a backend offers, as functions of its module, and what `isoflop submit` hands to one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from launch.store import PlannedRun, Store


@dataclass(frozen=True)
class Submission:
    """Workers for the unfinished runs of a study.

    store: its folder is absolute. unfinished: runs that are planned or running now. more_stages: stages wait
    for these runs, so somebody must plan those when the runs are done. n_workers: at a time (None: the
    backend's own choice; 0: none, only plan stage after stage). pack: "auto" or the number of runs that train
    as one program. site: the site file as read ({}: none). dry_run: only say what would be done.
    """

    store: Store
    unfinished: list[PlannedRun]
    more_stages: bool
    n_workers: int | None
    pack: str
    site: dict[str, Any]
    dry_run: bool


@dataclass(frozen=True)
class JobLog:
    """The log of a job. description: the job and how it ended, as "slot 12_3, which Slurm calls FAILED"."""

    path: Path
    description: str


class Backend(Protocol):
    """A module of launch/backends. `jobs` are those of Store.jobs that this backend has recorded."""

    def submit(self, submission: Submission) -> str:
        """Has workers train the study's unfinished runs, and records its jobs in the store; again, it changes
        nothing that is under way. Says what it did; with `dry_run` what it would do, and touches nothing.

        Raises:
          ValueError: the submission is not possible here; the reason in one line.
        """
        ...

    def cancel(self, jobs: list[dict[str, Any]]) -> str:
        """Ends the jobs that are left; their workers save their runs first. Says what it did."""
        ...

    def states(self, jobs: list[dict[str, Any]]) -> list[str]:
        """What the scheduler says of the jobs, in lines."""
        ...

    def logs(self, store: Store) -> list[Path]:
        """What workers and jobs have printed outside of any run."""
        ...

    def log_of_process(self, store: Store, owner: dict[str, Any]) -> JobLog | None:
        """The log of the job whose worker was the process {"host", "pid", …} of a lease; None if it is not
        known here."""
        ...
