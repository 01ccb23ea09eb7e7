"""The table [slurm] of a site file: what Slurm must know of this place.

[slurm]
partition = "gpu"
account = "nlp"
gpus = 1
time = "12:00:00"
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from experiments.fields import from_json


@dataclass(frozen=True)
class Controller:
    """Where the small job that plans the next stage runs; partition, account, qos: "" is as for workers."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    mem: str = "4G"
    time: str = "01:00:00"


@dataclass(frozen=True)
class Site:
    """The table [slurm]. Empty values leave it to the cluster.

    What one worker gets: partition, account, qos, constraint, gres ("gpu:a100:1") or gpus (a number), cpus,
    mem ("16G"), time (as sbatch takes it), options (further ones of sbatch, word for word).
    How it starts: setup (lines of shell), env, python (an interpreter that has isoflop; default: this one, or
    `python3` in a container), container (words before it: "apptainer exec --nv isoflop.sif").
    How many: workers (at a time), throttle (most that run together, 0: all).
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gres: str = ""
    gpus: int = 0
    cpus: int = 1
    mem: str = ""
    time: str = ""
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    python: str = ""
    container: str = ""
    workers: int = 8
    throttle: int = 0
    controller: Controller = Controller()

    def __post_init__(self):
        for name, least in (("gpus", 0), ("cpus", 1), ("workers", 1), ("throttle", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"[slurm].{name}={getattr(self, name)}; it must be at least {least}")
        if self.gres and self.gpus:
            raise ValueError(f"[slurm]: gres={self.gres!r} and gpus={self.gpus}; give one of them")
        for where, limit in (("", self.time), ("controller.", self.controller.time)):
            if limit and not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", limit):
                raise ValueError(
                    f"[slurm].{where}time={limit!r}; Slurm takes minutes, HH:MM:SS or DAYS-HH:MM:SS"
                )
        for name in ("partition", "account", "qos", "constraint", "gres", "mem"):
            if "\n" in getattr(self, name):
                raise ValueError(f"[slurm].{name}={getattr(self, name)!r}; it must be one line")


def read_site(site: dict[str, Any]) -> Site:
    """Checks the table [slurm] of a site file; without a file all is left to the cluster.

    Raises:
      ValueError: an unknown key (the nearest is named), a value that is not allowed, or no such table.
    """
    if site and "slurm" not in site:
        raise ValueError(f"the site file has no table [slurm]; it has {', '.join(site)}")
    values = dict(site.get("slurm", {}))
    env = values.pop("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise ValueError(
            f'[slurm].env={env!r}; expected a table of strings, for example {{ NAME = "value" }}'
        )
    for name in env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"[slurm].env: {name!r} is no name of a variable")
    return replace(from_json(Site, values, "[slurm]"), env=tuple(env.items()))


def as_toml(site: dict[str, Any]) -> str:
    """A site file that tomllib reads as `site`."""
    return "".join(f"{json.dumps(key)} = {_as_value(value)}\n" for key, value in site.items())


def _as_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{json.dumps(key)} = {_as_value(each)}" for key, each in value.items()) + " }"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
