"""Slurm's commands as functions: what they print is parsed, why they fail is kept in their own words."""

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any

MAX_ARRAY_SIZE = 1001  # Slurm's own default, where the cluster does not say
SEPARATOR = "|"
OPEN = ("PENDING", "RUNNING", "SUSPENDED", "RESIZING", "COMPLETING", "CONFIGURING", "REQUEUED")


class Refused(ValueError):
    """Slurm's own words on why a command failed."""


@dataclass(frozen=True)
class Job:
    """A line of the queue: a slot ("12_3") or a controller ("13")."""

    id: str
    state: str
    reason: str

    @property
    def array(self) -> str:
        """The id that sbatch gave."""
        return self.id.partition("_")[0]


def queue(jobs: list[dict[str, Any]], strict: bool = True) -> list[Job]:
    """Those of the jobs that are queued or run, a slot a line, from one call of squeue."""
    ids = list(dict.fromkeys(job["id"] for job in jobs))
    if not ids:
        return []
    try:
        out = call("squeue", "-h", "-r", "-j", ",".join(ids), "-o", SEPARATOR.join(("%i", "%T", "%r")))
    except ValueError as error:
        if strict and "invalid job id" not in str(error).lower():  # of a single job that Slurm has forgotten
            raise
        return []
    return [Job(*line.split(SEPARATOR, 2)) for line in out.splitlines()]


def ended(jobs: list[dict[str, Any]]) -> dict[str, str]:
    """How the ended jobs ended, by id, from one call of sacct; {} where Slurm keeps no accounts."""
    if not jobs:
        return {}
    ids = ",".join(dict.fromkeys(job["id"] for job in jobs))
    try:
        out = call("sacct", "-n", "-X", "-P", "--delimiter", SEPARATOR, "-j", ids, "-o", "JobID,State")
    except ValueError:
        return {}
    rows = (line.split(SEPARATOR) for line in out.splitlines())
    states = {job_id: state.split()[0] for job_id, state in rows if state}
    return {job_id: state for job_id, state in states.items() if state not in OPEN}


def sbatch(command: list[str]) -> str:
    """The id of the job; on a federation "id;cluster" is printed."""
    return call(*command).strip().partition(";")[0]


def max_array_size() -> int:
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"), re.MULTILINE)
    except ValueError:
        found = None
    return int(found[1]) if found else MAX_ARRAY_SIZE


def call(*command: str) -> str:
    """What the command prints. A job's own SLURM_ variables must not be taken for wishes of ours.

    Raises:
      Refused: it is not installed or fails.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    kept = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
    environment |= {key: os.environ[key] for key in kept if key in os.environ}
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused(f"{command[0]} is not installed here; run this where Slurm's commands are") from None
    if ran.returncode:
        words = [
            line.removeprefix(f"{command[0]}: ").removeprefix("error: ") for line in ran.stderr.splitlines()
        ]
        raise Refused(f"{command[0]}: {'; '.join(filter(None, words)) or f'exit code {ran.returncode}'}")
    return ran.stdout
