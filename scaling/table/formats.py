"""Files of rows: CSV in its dialects, JSON and Parquet, compressed or not. What is ambiguous is refused."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED = (*OPENERS, ".zst")
FORMATS = ".csv, .tsv, .json, .jsonl or .parquet, also packed as .gz, .bz2, .xz or .zst"
SEPARATORS = (",", ";", "\t", "|")
MAX_MB = 256  # of a table, unpacked; the environment's ISOFLOP_MAX_TABLE_MB raises it
# In files separated by ;. Where neither is found, columns say what their commas are (number_text.py).
DECIMAL_COMMA = re.compile(r'(?m)(?:^|[;"])[+-]?(?:\d{1,3},(?:\d{1,2}|\d{4,})|(?:0|\d{4,}),\d+)(?=[;"\r]|$)')
MARKS_OF_THOUSANDS = re.compile(r"\d\.\d|\d,\d{3},\d{3}")
FORMULAS = ("=", "+", "-", "@")  # what they begin with
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a file as they are, with the names of its columns as trimmed text.

    CSV: the separator (, ; tab |) is the one that the header has most of. A file separated by ; with decimal
    commas (3,25) and without a decimal point anywhere is read with them. JSON: a list of objects, one object
    a line, or a dict of columns; nested objects become columns named a.b.

    Raises:
      ValueError: there is no such file, or it is of another format, damaged or, unpacked, too large.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected a study's directory or a file {FORMATS}")
    packed = path.suffix if path.suffix in PACKED else ""
    suffix = Path(path.stem).suffix if packed else path.suffix
    readers = {".csv": _csv, ".tsv": _csv, ".json": _json, ".jsonl": _json, ".ndjson": _json}
    if suffix not in (*readers, ".parquet"):
        raise ValueError(f"{path}: cannot tell its format from {suffix!r}; expected {FORMATS}")
    if not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is a pipe or a device; expected a file: write the table to one first")
    try:
        content = _unpack(path, packed)
        table = readers[suffix](_text(content)) if suffix in readers else _parquet(content)
    except Exception as error:  # each format has its own errors; all of them mean the same to the user
        why = getattr(error, "strerror", None) or str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is not a readable {suffix} table: {why}") from error
    table.columns = [" ".join(str(name).split()) for name in table.columns]
    return table.loc[:, table.columns != ""]  # without the index that pandas writes


def _unpack(path: Path, suffix: str) -> bytes:
    with _open(path, suffix) as stream:
        content = stream.read(_max_bytes() + 1)
    _check_size(len(content))
    return content


def _open(path: Path, suffix: str) -> BinaryIO:
    if suffix == ".zst":
        import pyarrow

        return pyarrow.input_stream(path, compression="zstd")
    return OPENERS.get(suffix, open)(path, "rb")


def _max_bytes() -> int:
    return int(os.environ.get("ISOFLOP_MAX_TABLE_MB", MAX_MB)) << 20


def _check_size(n_bytes: int) -> None:
    if n_bytes > _max_bytes():
        raise ValueError(
            f"unpacked it is more than {_max_bytes() >> 20} MB, too much for a table of runs; "
            "if it is one, set ISOFLOP_MAX_TABLE_MB to allow more"
        )


def _text(content: bytes) -> str:
    encoding = next((e for mark, e in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("it is not text")
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _csv(text: str) -> pd.DataFrame:
    text = text.lstrip("\r\n")
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = max(SEPARATORS, key=header.count)
    with_commas = separator == ";" and not MARKS_OF_THOUSANDS.search(text) and DECIMAL_COMMA.search(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # it would cut rows that are too long
        try:
            table = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                decimal="," if with_commas else ".",
                index_col=False,  # without it, rows longer than the header shift all columns by one
                low_memory=False,
            )
        except pd.errors.ParserWarning:
            raise ValueError("its rows have more fields than its header") from None
    table.columns = next(csv.reader([header], delimiter=separator))  # pandas renames one of two equal names
    return table


def _json(text: str) -> pd.DataFrame:
    try:
        content = json.loads(text)
    except ValueError:
        content = _json_lines(text)
    if isinstance(content, dict):
        values = list(content.values())
        if all(isinstance(v, list) for v in values) or all(isinstance(v, dict) for v in values):
            return pd.DataFrame(content)  # columns
        content = [content]  # a file of one line
    if not (isinstance(content, list) and all(isinstance(row, dict) for row in content)):
        raise ValueError("expected a list of objects, or one object a line")
    nested = any(isinstance(value, dict) for row in content for value in row.values())
    return pd.json_normalize(content) if nested else pd.DataFrame(content)


def _json_lines(text: str) -> list[Any]:
    lines = [(number, line) for number, line in enumerate(io.StringIO(text), 1) if line.strip()]
    try:
        return json.loads("[" + ",".join(line for _, line in lines) + "]")
    except ValueError:
        pass
    for number, line in lines:
        try:
            json.loads(line)
        except ValueError:
            raise ValueError(f"line {number} is not JSON") from None
    raise ValueError("it is not JSON")


def _parquet(content: bytes) -> pd.DataFrame:
    from pyarrow import parquet

    about = parquet.read_metadata(io.BytesIO(content))
    _check_size(8 * about.num_rows * about.num_columns)  # a column of one value takes next to nothing on disk
    table = pd.read_parquet(io.BytesIO(content))
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def as_csv(table: pd.DataFrame) -> str:
    """The table as CSV. Text that a spreadsheet would run as a formula has an apostrophe in front, as OWASP
    advises ("CSV injection"): the names of paths and columns may be anybody's."""

    def plain(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value[:1] in FORMULAS else value

    text = table.select_dtypes(exclude="number").map(plain)
    return table.assign(**text).rename(columns=plain).to_csv(index=False)
