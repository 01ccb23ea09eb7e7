"""Which checkpoints a path names, and what tells one from another: without reading their arrays, or jax."""

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.files import read_json


@dataclass(frozen=True)
class Checkpoint:
    """A folder that `loaded_model.load_model` loads; `row` is its row of the study's runs.csv, if any, and
    `label` its name where others are called the same."""

    folder: Path
    row: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.row.get("run_id") or self.folder.name

    @property
    def loss(self) -> float:
        """Validation loss by the table of runs; nan where it has none."""
        return float(self.row.get("loss") or "nan")


def is_hugging_face(folder: Path) -> bool:
    """Whether config.json is of a Hugging Face model rather than of a run."""
    if not (folder / "config.json").is_file():
        return False
    values = read_json(folder / "config.json")
    return "model_type" in values and "data" not in values


def find_run(path: Path) -> Path:
    """The run directory, or Hugging Face folder, that `path` names; a study stands for its verification run.

    Raises:
      ValueError: `path` is neither a checkpoint nor a study with a verification run.
    """
    if (path / "config.json").is_file():
        return path
    if (path / "verify.json").is_file():
        return path / "runs" / read_json(path / "verify.json")["run_id"]
    runs = sorted(path.glob("runs/*/config.json"))
    if runs:
        raise ValueError(
            f"{path} is a study without a verification run yet; name a run, such as {runs[0].parent}, or all "
            "of them with --all"
        )
    raise ValueError(f"{path} is neither a run (no config.json) nor a study (no verify.json or runs/)")


def find_all(study: Path) -> list[Checkpoint]:
    """Every finished run of a study that has a checkpoint, the lowest loss first.

    Raises:
      ValueError: no study there, or none of its runs is finished.
    """
    table = study / "runs.csv"
    if not table.is_file():
        raise ValueError(f"{study} is no study with finished runs: it has no runs.csv")
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("status", "done") == "done"]
    found = [Checkpoint(study / "runs" / row["run_id"], row) for row in rows]
    found = [one for one in found if (one.folder / "checkpoints").is_dir()]
    if not found:
        raise ValueError(f"none of the {len(rows)} finished runs in {table} has a checkpoint")
    return sorted(found, key=lambda one: one.loss)


def tell_apart(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """The same with different names: of equal ones as much of their paths as differs, and numbers where one
    is there several times."""
    paths = [one.folder.absolute().parts for one in checkpoints]
    names = [one.name for one in checkpoints]
    for depth in range(2, max(map(len, paths)) + 1):
        known = set(zip(names, paths))
        shared = [sum(other == name for other, _ in known) > 1 for name in names]
        names = ["/".join(path[-depth:]) if s else name for name, path, s in zip(names, paths, shared)]
    nth = [names[: i + 1].count(name) for i, name in enumerate(names)]
    names = [f"{name} ({n})" if names.count(name) > 1 else name for name, n in zip(names, nth)]
    return [one if one.name == name else replace(one, label=name) for one, name in zip(checkpoints, names)]


def describe(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, with its row where it lies in a study."""
    table = folder.parent.parent / "runs.csv"
    if folder.parent.name == "runs" and table.is_file():
        with open(table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("run_id") == folder.name:
                    return Checkpoint(folder, row)
    return Checkpoint(folder)
