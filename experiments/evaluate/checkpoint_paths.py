"""Which checkpoints a path names, and what tells one from another: without reading their arrays, or jax."""

import csv
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.files import read_json, write_atomic

REMEMBERED = 2**24  # bytes from which a file's hash is kept, for as long as its size and time stay


@dataclass(frozen=True)
class Checkpoint:
    """A folder that `loaded_model.load_model` loads; `row` is its row of the study's runs.csv, if any."""

    folder: Path
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.row.get("run_id") or self.folder.name

    @property
    def loss(self) -> float:
        """Validation loss by the table of runs; nan where it has none."""
        return float(self.row.get("loss") or "nan")


def cache_folder() -> Path:
    """Where responses and hashes are kept: inside ISOFLOP_CACHE, or ~/.cache/isoflop."""
    root = Path(os.environ.get("ISOFLOP_CACHE") or Path.home() / ".cache/isoflop")
    return root / "evaluate"


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


def describe(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, with its row where it lies in a study."""
    table = folder.parent.parent / "runs.csv"
    if folder.parent.name == "runs" and table.is_file():
        with open(table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("run_id") == folder.name:
                    return Checkpoint(folder, row)
    return Checkpoint(folder)


def fingerprint(folder: Path) -> str:
    """sha256 of the files that decide what a checkpoint says: configuration, tokenizer, parameters."""
    files = [file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".model")]
    if (folder / "checkpoints").is_dir():
        steps = [step for step in (folder / "checkpoints").iterdir() if step.name.isdigit()]
        files = [folder / "config.json", *(file for step in steps for file in (step / "params").rglob("*"))]
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(f"{file.relative_to(folder)} {_sha256(file)}\n".encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    stat = file.stat()
    if stat.st_size < REMEMBERED:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    seen = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    kept = cache_folder() / "hashes" / hashlib.sha256(seen.encode()).hexdigest()
    if not kept.is_file():
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, found)
    return kept.read_text()
