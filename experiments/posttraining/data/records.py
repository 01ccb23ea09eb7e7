"""Records of published data sets: JSON lines, JSON, Parquet and Arrow files, or a data set by its name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.data.sources import textfiles
from experiments.files.extras import install_command

FORMATS = (".jsonl", ".json", ".parquet", ".arrow")
DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
TRAIN = re.compile(r"(^|[/_.-])train", re.IGNORECASE)

Record = dict[str, Any]


def records(path: str) -> Iterator[tuple[str, Record]]:
    """(place, record) of each record: an error about it begins with the place, "FILE:LINE" or the like.

    Args:
      path: a file (.jsonl, also compressed; .json with one list; .parquet; .arrow), a folder of such files,
        as Hugging Face's data sets are kept, or the name of one on their hub, which needs the library
        `datasets`. Where a folder has files of several splits, those of the training split.

    Raises:
      ValueError: nothing there, nothing that can be read, or a damaged file; which file and line.
    """
    if _is_name(path):
        yield from _by_name(path)
        return
    for file in find(path):
        read = {".json": _json, ".parquet": _parquet, ".arrow": _arrow}.get(file.suffix.lower(), _json_lines)
        yield from read(file)


def find(path: str) -> list[Path]:
    """The files of `path`, in the order of their names; raises as `records`."""
    known = f"known are {', '.join(FORMATS)}, the first also with .gz, .xz, .zst"
    given = Path(path).expanduser()
    if not path:
        raise ValueError("examples.path is empty; give a file, a folder, or the name of a data set")
    if given.is_file():
        if not _is_known(given):
            raise ValueError(f"examples.path={path}: unknown kind of file {given.suffix!r}; {known}")
        return [given.resolve()]
    if not given.is_dir():
        raise ValueError(f"examples.path={path}: no such file or folder (seen from {Path.cwd()})")
    found = sorted(file for file in given.rglob("*") if file.is_file() and _is_known(file))
    training = [file for file in found if TRAIN.search(str(file.relative_to(given)))]
    if not found:
        raise ValueError(f"examples.path={path}: no examples in this folder; {known}")
    return [file.resolve() for file in training or found]


def identity(path: str) -> dict[str, Any]:
    """What a set is made from, as names, sizes and times of change of its files; raises as `find`."""
    if _is_name(path):
        return {"dataset": path}
    stats = {str(file): file.stat() for file in find(path)}
    return {"files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}}


def _is_name(path: str) -> bool:
    """Whether it is a name on Hugging Face's hub, OWNER/NAME, rather than a file or folder."""
    given = Path(path).expanduser()
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", path)) and not given.exists() and not _is_known(given)


def _is_known(file: Path) -> bool:
    if file.name in DESCRIPTIONS:
        return False
    return textfiles.format_of(file) == ".jsonl" or file.suffix.lower() in FORMATS


def _json_lines(file: Path) -> Iterator[tuple[str, Record]]:
    for number, line in textfiles.lines(file):
        if line.strip():
            yield _record(f"{file}:{number}", line)


def _json(file: Path) -> Iterator[tuple[str, Record]]:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); one object a line is .jsonl") from None
    if not isinstance(content, list):
        raise ValueError(f"{file}: a JSON {type(content).__name__}; expected a list of objects")
    for number, item in enumerate(content, 1):
        yield _checked(f"{file}: item {number}", item)


def _parquet(file: Path) -> Iterator[tuple[str, Record]]:
    import pyarrow.parquet  # here: slow to import

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            yield from _rows(file, table.iter_batches())
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file} cannot be read: {error}; is it damaged or cut short?") from None


def _arrow(file: Path) -> Iterator[tuple[str, Record]]:
    """What the library `datasets` writes with save_to_disk: Arrow's stream, or its file format."""
    import pyarrow  # here: slow to import

    try:
        with pyarrow.memory_map(str(file)) as source:
            try:
                batches = iter(pyarrow.ipc.open_stream(source))
            except pyarrow.ArrowInvalid:
                table = pyarrow.ipc.open_file(source)
                batches = (table.get_batch(i) for i in range(table.num_record_batches))
            yield from _rows(file, batches)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file} cannot be read: {error}; is it damaged or cut short?") from None


def _rows(file: Path, batches) -> Iterator[tuple[str, Record]]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield f"{file}: row {number}", row


def _by_name(name: str) -> Iterator[tuple[str, Record]]:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            f"examples.path={name}: no such file or folder; to read it from Hugging Face's hub: "
            f"{install_command('hf-datasets')}"
        ) from None
    try:
        rows = datasets.load_dataset(name, split="train")
    except Exception as error:  # it raises whatever its network, files and formats raise
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"examples.path={name}: Hugging Face's hub does not give it ({reason})") from error
    for number, row in enumerate(rows, 1):
        yield f"{name}: row {number}", dict(row)


def _record(place: str, line: bytes) -> tuple[str, Record]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON ({error}); each line is one object") from None
    return _checked(place, record)


def _checked(place: str, record: Any) -> tuple[str, Record]:
    if not isinstance(record, dict):
        raise ValueError(f"{place}: a JSON {type(record).__name__}; each example is an object with fields")
    return place, record
