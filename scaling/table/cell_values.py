"""Cells of a table: which are numbers, which numbers can be used, and how a bad one is named."""

from typing import Any

import numpy as np
import pandas as pd

from scaling.table.number_text import read_numbers

FAR = 1e8  # a value this many times off the column's median (in logs) belongs to no table of runs
TOO_LARGE = 1e40  # no count of anything; powers of it, or of its inverse, would leave the range of floats
OUT_OF_PROPORTION = "is out of all proportion to the other rows"
NAMED_ROWS = 5  # bad rows named one by one; the rest is counted


def numbers(column: Any) -> np.ndarray:
    """As float64; NaN for what is no number or may be two (scaling/table/number_text.py)."""
    return numbers_and_doubts(column)[0]


def numbers_and_doubts(column: Any, unit: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(`numbers`, times the unit where a cell has no suffix; which cells may be two numbers), [rows] both."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.to_numpy(float) * unit, np.zeros(len(column), bool)
    values, suffixed, unclear = read_numbers(list(column))
    return np.where(suffixed, values, values * unit), unclear


def reading(cells: Any, column: str, values: np.ndarray) -> list[str]:
    """One note, by an example, where cells do not look like the numbers that they were read as.

    Args:
      cells: as they are in the table; column: our name of it; values: what they were read as [rows].
    """
    changed = np.isfinite(values) & (np.array([_as_written(cell) for cell in cells]) != values)
    if not changed.any():
        return []
    i, more = int(changed.argmax()), int(changed.sum()) - 1
    alike = f", and {more} more alike" if more else ""
    return [f"{column}: {shown(cells.iloc[i])} is read as {values[i]:.10g}{alike}"]


def _as_written(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def is_given(column: Any) -> np.ndarray:
    """Where something is said, and it is not that the value is missing."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.notna().to_numpy()
    said_nan = column.astype(str).str.strip().str.lower().isin(["nan", "none", "null", ""])
    return column.notna().to_numpy() & ~said_nan.to_numpy()


def unusable(column: str, values: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """Which values cannot be used, and what is wrong. A loss that is not finite is a diverged run's."""
    if column == "loss":
        return [(values <= 0, "must be positive"), (far_off(values), OUT_OF_PROPORTION)]
    if column in ("flops", "lr", "k") or column.startswith("n_") or column.endswith("_tokens"):
        bad = ~((values > 1 / TOO_LARGE) & (values < TOO_LARGE))
        what = f"must be positive, from {1 / TOO_LARGE:g} to {TOO_LARGE:g}"
        return [(bad, what), (far_off(values), OUT_OF_PROPORTION)]
    return [(~np.isfinite(values), "must be finite")]


def far_off(values: np.ndarray) -> np.ndarray:
    """Which positive values are out of all proportion to the others."""
    good = np.isfinite(values) & (values > 0)
    if not good.any():
        return np.zeros(len(values), bool)
    log = np.log(np.where(good, values, 1.0))
    return good & (np.abs(log - np.median(log[good])) > np.log(FAR))


def name_rows(table: pd.DataFrame, rows: np.ndarray, column: str, what: str) -> list[str]:
    """One note a bad row, and a count of those beyond the first few.

    Args:
      rows: [rows] bool, which are bad; column: the one they are bad in; what: what is wrong with them.
    """
    found = np.flatnonzero(rows)
    notes, more = [], len(found) - NAMED_ROWS
    for i in found[:NAMED_ROWS]:
        run = f" (run_id {shown(table['run_id'].iloc[i])})" if "run_id" in table else ""
        notes.append(f"row {i + 1}{run}: {column}={shown(table[column].iloc[i])} {what}")
    return [*notes, f"and {more} more rows whose {column} {what}"] if more > 0 else notes


def shown(cell: Any) -> str:
    """A cell on one short line."""
    text = " ".join(str(cell).split())
    return text if len(text) <= 40 else f"{text[:40]}…"
