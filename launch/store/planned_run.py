"""A run as the plan of a study lists it, and the states that it can be in."""

from dataclasses import dataclass
from typing import Any

STATES: tuple[str, ...] = ("planned", "claimed", "running", "done", "diverged", "failed", "cancelled")
UNFINISHED = ("planned", "claimed", "running")


@dataclass(frozen=True)
class PlannedRun:
    """A run to do. `config` is its RunConfig as JSON; runs of equal `shape` share a compiled step.

    pack: runs of equal `pack` may train together as one program ("": none may). trunk: runs of equal `trunk`
    take the same steps until the `branch_step` of the shorter one ("": shares nothing).
    """

    run_id: str
    stage: str
    shape: str
    n_params: int
    n_tokens: int
    flops: float
    config: dict[str, Any]
    pack: str = ""
    trunk: str = ""
    branch_step: int = 0
    n_steps: int = 0
