"""The larger run of a study: its prediction and what was measured, on disk and in words."""

from pathlib import Path
from typing import Any

from experiments.files import read_json, write_json
from scaling.table.runs import Runs


def with_measurement(folder: Path, done: Runs, *columns: str) -> dict[str, Any]:
    """What prediction.json says, with the loss of that run, `measured`, and its columns; written back."""
    said = read_json(folder / "prediction.json")
    row = done.table.loc[done.table["run_id"] == said["run_id"]].iloc[0]
    said |= {"measured": float(row["loss"])} | {name: float(row[name]) for name in columns}
    write_json(folder / "prediction.json", said)
    return said


def in_words(run: dict[str, Any], otherwise: str) -> str:
    """What was predicted, in brackets what otherwise, and what was measured."""
    half = (run["hi"] - run["lo"]) / 2
    inside = "inside" if run["lo"] <= run["measured"] <= run["hi"] else "OUTSIDE"
    return (
        f"predicted {run['predicted']:.4f} ± {half:.4f} ({otherwise}), "
        f"measured {run['measured']:.4f}: {run['measured'] / run['predicted'] - 1:+.2%}, {inside} it"
    )
