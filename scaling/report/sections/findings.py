"""The section with what a study wrote of its own: its conclusion, its pictures, its tables."""

from typing import Any

import numpy as np
import pandas as pd

from scaling.report.data import ReportData
from scaling.report.page import Cell, Column, Section, Table, TableRow

MOST = 200  # rows of a table; the file beside the page has all


def section(data: ReportData) -> Section | None:
    """Nothing of a study that has no pictures and tables of its own."""
    if not (data.pictures or data.findings):
        return None
    tables = [_table(title, table) for title, table in data.findings.items()]
    return Section(
        "findings", "What the study found", said=data.conclusion, pictures=data.pictures, tables=tables
    )


def _table(title: str, table: pd.DataFrame) -> Table:
    shown = table.head(MOST)
    if len(table) > MOST:
        title += f", the first {MOST} of {len(table):,} rows"
    columns = [Column(str(name), text=not _is_number(kind)) for name, kind in table.dtypes.items()]
    rows = [
        TableRow([_cell(value, column.text) for value, column in zip(values, columns, strict=True)])
        for values in shown.itertuples(index=False)
    ]
    return Table(title, columns, rows)


def _is_number(kind: Any) -> bool:
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)


def _cell(value: Any, text: bool) -> Cell:
    if text:
        return Cell("" if value is None or value != value else str(value), None, "text")
    number = float(value)
    if not np.isfinite(number):
        return Cell("" if np.isnan(number) else str(number))
    whole = number == round(number) and abs(number) < 1e15
    return Cell(f"{number:,.0f}" if whole else f"{number:.4g}", number)
