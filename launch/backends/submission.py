"""What `isoflop submit` asks of a backend."""

from dataclasses import dataclass
from typing import Any

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
