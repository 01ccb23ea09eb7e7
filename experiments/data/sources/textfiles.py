"""A user's own text: plain text, JSON lines, Parquet, Arrow and web pages, compressed or not."""

import bz2
import glob
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from experiments.data.document import Document
from experiments.data.sources import webarchives
from experiments.data.sources.left_out import LeftOut, Skipped, kept

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
FORMATS = {  # name's ending: compressions that may follow it
    ".txt": COMPRESSIONS,
    ".jsonl": COMPRESSIONS,
    ".parquet": (),
    ".arrow": (),
    ".warc": (".gz", ".zst"),
    ".wet": (".gz", ".zst"),
    ".html": (),
    ".htm": (),
}
WIKI_EXTRACT = re.compile(r"wiki_\d+")  # what WikiExtractor --json calls its files of JSON lines
LICENCE = "the user's own files; see their source"
READER = 2  # raised when what is read of the same files changes
UNREADABLE = (EOFError, OSError, lzma.LZMAError, zlib.error)
PART_BYTES = 4096  # a plain text file is cut into documents of at least this size, at blank lines


def identity(path: str, text_field: str = "text") -> dict[str, Any]:
    """What the corpus is made from: names, sizes and times of change of the files, and a field of one's own.

    Raises:
      ValueError: see `find`.
    """
    stats = {str(file): file.stat() for file in find(path)}
    files = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
    found = {"files": files, "reader": READER}
    return found | ({} if text_field == "text" else {"text_field": text_field})


def find(path: str) -> list[Path]:
    """The files of `path`: a file, a folder searched at any depth, or a pattern like "data/*.jsonl.xz".

    Each comes once, however many links lead to it; links to folders are followed by patterns alone.

    Raises:
      ValueError: no path, nothing there, or nothing there that can be read.
    """
    known = f"known are {', '.join(FORMATS)}, and with {', '.join(COMPRESSIONS)} what is text"
    if not path:
        raise ValueError(
            "data.path is empty; task 'files' needs a file, a folder or a pattern: data.path=PATH"
        )
    given = Path(path).expanduser()
    if given.is_file():
        if not format_of(given):
            raise ValueError(f"data.path={path}: unknown kind of file {given.suffix!r}; {known}")
        return [given.resolve()]
    inside = given.rglob("*") if given.is_dir() else map(Path, glob.glob(str(given), recursive=True))
    found = sorted({file.resolve() for file in inside if file.is_file()})
    if not found and not given.is_dir():
        raise ValueError(f"data.path={path}: no such file or folder (seen from {Path.cwd()})")
    readable = [file for file in found if format_of(file)]
    if not readable:
        raise ValueError(f"data.path={path}: no text files among the {len(found)} files there; {known}")
    return readable


def documents(path: str, text_field: str = "text") -> Iterator[bytes]:
    """The texts of `records` as UTF-8; raises as that does."""
    return (document.text.encode() for document in records(path, text_field))


def records(path: str, text_field: str = "text", skipped: Skipped | None = None) -> Iterator[Document]:
    """Documents of all files in order of their names; those without text are left out.

    With `skipped` that holds for all that is no text (`left_out.kept`): wrong lines and rows, NUL bytes, more
    than 20 MB; and a file that is damaged or cut short is read up to there.

    JSON lines, Parquet and Arrow give one document a line or row: its `text_field`, and the other fields
    beside it. Web archives give one a page (`webarchives`). A plain text file is cut at blank lines into
    documents of about PART_BYTES (twice that where there are none). Lone surrogates, which are no text,
    become "?".

    Args:
      path: see `find`.
      text_field: the field or column that is the text.
      skipped: what is left out is counted here.

    Raises:
      ValueError: a file without that column, one of which nothing can be read, or `left_out.kept`; without
        `skipped` also a damaged file, or a line that is no JSON object with a string `text_field`.
    """
    for file in find(path):
        for document in kept(_found(file, text_field), str(file), skipped):
            try:
                document.text.encode()
            except UnicodeEncodeError:
                document = Document(document.text.encode("utf-8", "replace").decode(), document.fields)
            yield document


def _found(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    try:
        yield from READERS[format_of(file)](file, text_field)
    except UNREADABLE as error:
        yield LeftOut("cut short or damaged", _damage(file, error))


def format_of(file: Path) -> str:
    """Which of FORMATS a file has by its name, "" if none."""
    name = file.name.lower()
    compression = next((c for c in COMPRESSIONS if name.endswith(c)), "")
    name = name.removesuffix(compression)
    found = ".jsonl" if WIKI_EXTRACT.fullmatch(name) else next((f for f in FORMATS if name.endswith(f)), "")
    return found if found and (not compression or compression in FORMATS[found]) else ""


def _damage(file: Path, error: Exception) -> str:
    return f"{file} cannot be read: {error}; is it damaged or cut short?"


def _open(file: Path) -> BinaryIO:
    if file.suffix.lower() == ".zst":
        import pyarrow  # here: slow to import

        return io.BufferedReader(pyarrow.input_stream(file, compression="zstd"))  # type: ignore[arg-type]
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(file.suffix.lower(), open)
    return opener(file, "rb")  # type: ignore[return-value]


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, from 1, of a file that may be compressed.

    Raises:
      ValueError: a damaged file, or a line that is not UTF-8.
    """
    try:
        for number, line in _numbered(file):
            if isinstance(line, LeftOut):
                raise ValueError(line.error)
            yield number, line
    except UNREADABLE as error:
        raise ValueError(_damage(file, error)) from error


def _numbered(file: Path) -> Iterator[tuple[int, bytes | LeftOut]]:
    with _open(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                said = f"{file}:{number}: not UTF-8 text ({error.reason} at byte {error.start})"
                yield number, LeftOut("not UTF-8", said)
                continue
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _read_text(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    """A part with a line that is not UTF-8 is left out whole: its text would have a gap."""
    part, size, wrong = [], 0, None
    for _, line in _numbered(file):
        if isinstance(line, LeftOut):
            wrong = wrong or line
            continue
        part.append(line)
        size += len(line)
        if size >= 2 * PART_BYTES or (size >= PART_BYTES and not line.strip()):
            yield wrong or Document(b"".join(part).strip(b"\r\n").decode())
            part, size, wrong = [], 0, None
    if part or wrong:
        yield wrong or Document(b"".join(part).strip(b"\r\n").decode())


def _read_jsonl(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    for number, line in _numbered(file):
        if isinstance(line, LeftOut):
            yield line
            continue
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = f"{file}:{number}: not JSON ({error}); each line is an object with a {text_field!r}"
            yield LeftOut("not JSON", said)
            continue
        text = record.get(text_field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            fields = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            yield LeftOut(
                f"without a string {text_field!r}",
                f"{file}:{number}: no string {text_field!r} in this line (it has {fields}); every line needs "
                "one, and data.text_field says which",
            )
            continue
        del record[text_field]
        yield Document(text, record)


def _read_parquet(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    import pyarrow.parquet  # here: slow to import

    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise OSError(error) from error
    with table:
        yield from _rows(file, text_field, table.schema_arrow.names, table.iter_batches(batch_size=1024))


def _read_arrow(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    """A stream, as `datasets` saves it, or a file."""
    import pyarrow  # here: slow to import

    with pyarrow.memory_map(str(file)) as source:
        try:
            try:
                table = pyarrow.ipc.open_stream(source)
                batches = iter(table)
            except pyarrow.ArrowInvalid:
                table = pyarrow.ipc.open_file(source)
                batches = map(table.get_batch, range(table.num_record_batches))
            yield from _rows(file, text_field, table.schema.names, batches)
        except pyarrow.ArrowInvalid as error:
            raise OSError(error) from error


def _rows(
    file: Path, text_field: str, names: list[str], batches: Iterable[Any]
) -> Iterator[Document | LeftOut]:
    """Documents of Arrow's record batches."""
    if text_field not in names:
        raise ValueError(
            f"{file}: no column {text_field!r} (it has {', '.join(names)}); data.text_field says which"
        )
    for number, record in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
        text = record.pop(text_field)
        if not isinstance(text, str):
            yield LeftOut(
                f"without a string {text_field!r}",
                f"{file}: row {number} has no string {text_field!r} but {text!r}; every row needs one",
            )
            continue
        yield Document(text, record)


READERS = {
    ".txt": _read_text,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".warc": webarchives.read_archive,
    ".wet": webarchives.read_archive,
    ".html": webarchives.read_html,
    ".htm": webarchives.read_html,
}
