"""Numbers as people write them in tables: 7,121,395, 7.121.395, 3,25, 7.1M. What may be two numbers is none.

7,121 is seven thousand to some and seven to others. So a column is read as a whole: cells that can be read in
one way only say what the comma, or the dot, of the others is. Where none does, a dot is a decimal point, as
programs write it, and a comma is unclear.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

SUFFIXES = {"": 0, "k": 3, "m": 6, "b": 9, "bn": 9, "g": 9, "t": 12}  # powers of ten
UNCLEAR = "has a mark of thousands or of decimals, the column does not say which: write 1234 or 1.234"
_GROUPS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:[\s_'’]\d{3})+(?![\d_'’])")  # \s has the narrow spaces, too
_NUMBER = re.compile(r"([+-]?)([\d.,]+)(e[+-]?\d+)?\s*([a-z]{0,2})", re.IGNORECASE)
# One style has commas between thousands and a decimal point, the other dots and a decimal comma.
_STYLES = {
    mark: re.compile(rf"(?:\d+|[1-9]\d{{0,2}}(?:[{other}]\d{{3}})+)(?:[{mark}]\d*)?|[{mark}]\d+")
    for mark, other in ((".", ","), (",", "."))
}


def read_numbers(cells: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the numbers, NaN where there is none; which cells have a suffix such as M; which are unclear) [cells].

    A truth value, a date, a list or a complex number is none.
    """
    readings = [_readings(cell) for cell in cells]
    decimal = _decimal_marks([reading for reading in readings if reading])
    values, suffixed, unclear = (
        np.full(len(cells), np.nan),
        np.zeros(len(cells), bool),
        np.zeros(len(cells), bool),
    )
    for i, (cell, found) in enumerate(zip(cells, readings)):
        if found is None:
            values[i] = _plain(cell)
            continue
        by_mark, text, suffixed[i] = found
        mark = next(iter(by_mark)) if len(by_mark) == 1 else decimal["," if "," in text else "."]
        unclear[i] = mark is None
        values[i] = np.nan if mark is None else by_mark[mark]
    return values, suffixed, unclear


def _plain(cell: Any) -> float:
    """What is a number already, or text that has no digits, such as inf."""
    if isinstance(cell, (bool, np.bool_)) or (isinstance(cell, str) and re.search(r"\d", cell)):
        return np.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _readings(cell: Any) -> tuple[dict[str, float], str, bool] | None:
    """({decimal mark: the number so read}, digits and marks, has a suffix) of text; None if it is no number.

    Two readings only where they differ.
    """
    if not isinstance(cell, str):
        return None
    text = _GROUPS.sub(lambda found: re.sub(r"\D", "", found[0]), cell.strip())
    parts = _NUMBER.fullmatch(text)
    if not parts or parts[4].lower() not in SUFFIXES or (parts[3] and parts[4]):
        return None
    sign, digits, exponent, suffix = parts.groups()
    power = exponent or f"e{SUFFIXES[suffix.lower()]}"
    found = {}
    for mark, style in _STYLES.items():
        other = "," if mark == "." else "."
        if style.fullmatch(digits) and not (exponent and other in digits):
            found[mark] = float(f"{sign}{digits.replace(other, '').replace(mark, '.')}{power}")
    if len(set(found.values())) == 1:
        found = dict([next(iter(found.items()))])
    return (found, digits, bool(suffix)) if found else None


def _decimal_marks(readings: Sequence[tuple[dict[str, float], str, bool]]) -> dict[str, str | None]:
    """For cells of two readings, by the mark they have: the decimal mark of the column, None if unclear."""
    votes = {
        mark: {next(iter(found)) for found, digits, _ in readings if len(found) == 1 and mark in digits}
        for mark in ".,"
    }
    comma = next(iter(votes[","])) if len(votes[","]) == 1 else None
    if votes["."] == {","}:
        return {",": comma, ".": ","}
    doubtful = "," in votes["."] or ("," in votes[","] and not votes["."])
    return {",": comma, ".": None if doubtful else "."}
