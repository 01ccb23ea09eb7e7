"""A user's own text: plain text, JSON lines and Parquet files, compressed or not."""

import contextlib
import glob
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

FORMATS = (".txt", ".jsonl", ".parquet")
COMPRESSIONS = ("", ".gz", ".xz", ".zst")
LICENCE = "the user's own files; see their source"
PART_BYTES = 4096  # a plain text file is cut into documents of at least this size, at blank lines


def identity(path: str) -> dict[str, Any]:
    """What the corpus is made from: names, sizes and times of change of the files.

    Raises:
      ValueError: see `find`.
    """
    stats = {str(file): file.stat() for file in find(path)}
    return {"files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}}


def find(path: str) -> list[Path]:
    """The files of `path`: a file, a folder searched at any depth, or a pattern like "data/*.jsonl.xz".

    Raises:
      ValueError: no path, nothing there, or nothing there that can be read.
    """
    known = f"known are {', '.join(FORMATS)}, the first two also with {', '.join(COMPRESSIONS[1:])}"
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
    found = sorted(file.resolve() for file in inside if file.is_file())
    if not found and not given.is_dir():
        raise ValueError(f"data.path={path}: no such file or folder (seen from {Path.cwd()})")
    readable = [file for file in found if format_of(file)]
    if not readable:
        raise ValueError(f"data.path={path}: no text files among the {len(found)} files there; {known}")
    return readable


def documents(path: str) -> Iterator[bytes]:
    """UTF-8 documents of all files in order of their names; empty ones are left out.

    JSON lines and Parquet give one document a line or row, its "text". A plain text file is cut at blank
    lines into documents of about PART_BYTES (twice that where there are none).

    Raises:
      ValueError: a damaged file, or one with a line that is no JSON object with "text" or no column "text".
    """
    for file in find(path):
        read = {".txt": _read_text, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[format_of(file)]
        with _readable(file):
            yield from (document for document in read(file) if document.strip())


def format_of(file: Path) -> str:
    """Which of FORMATS a file has by its name, "" if none."""
    name = file.name.lower()
    compression = next(c for c in reversed(COMPRESSIONS) if name.endswith(c))
    name = name.removesuffix(compression)
    found = next((f for f in FORMATS if name.endswith(f)), "")
    return "" if compression and found == ".parquet" else found


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read: {error}; is it damaged or cut short?") from error


def _open(file: Path) -> BinaryIO:
    if file.suffix.lower() == ".zst":
        import pyarrow  # here: slow to import

        return io.BufferedReader(pyarrow.input_stream(file, compression="zstd"))  # type: ignore[arg-type]
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(file.suffix.lower(), open)
    return opener(file, "rb")  # type: ignore[return-value]


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, from 1, of a file that may be compressed.

    Raises:
      ValueError: a damaged file, or a line that is not UTF-8.
    """
    with _readable(file), _open(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{file}:{number}: not UTF-8 text ({error.reason} at byte {error.start})"
                ) from None
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _read_text(file: Path) -> Iterator[bytes]:
    part, size = [], 0
    for _, line in lines(file):
        part.append(line)
        size += len(line)
        if size >= 2 * PART_BYTES or (size >= PART_BYTES and not line.strip()):
            yield b"".join(part).strip(b"\r\n")
            part, size = [], 0
    yield b"".join(part).strip(b"\r\n")


def _read_jsonl(file: Path) -> Iterator[bytes]:
    for number, line in lines(file):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{file}:{number}: not JSON ({error}); each line is an object with a 'text'"
            ) from None
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            fields = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise ValueError(
                f"{file}:{number}: no string 'text' in this line (it has {fields}); every line needs one"
            )
        yield text.encode("utf-8", "replace")


def _read_parquet(file: Path) -> Iterator[bytes]:
    import pyarrow.parquet  # here: slow to import

    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise OSError(error) from error
    with table:
        names = table.schema_arrow.names
        if "text" not in names:
            raise ValueError(f"{file}: no column 'text' (it has {', '.join(names)})")
        row = 0
        for batch in table.iter_batches(columns=["text"], batch_size=1024):
            for text in batch.column(0).to_pylist():
                row += 1
                if not isinstance(text, str):
                    raise ValueError(
                        f"{file}: row {row} has no string 'text' but {text!r}; every row needs one"
                    )
                yield text.encode("utf-8", "replace")
