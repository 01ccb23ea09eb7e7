"""What a checkpoint responded, kept on disk: a kill at any moment loses the batch in work and nothing else.

Both kinds of file are only ever appended to, a batch at a time, each batch made durable before the next, by
one process at a time. Whatever is not as it was written, by its checksum, is dropped when the file is opened
again, and asked anew.
"""

import contextlib
import fcntl
import json
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

CHECKSUM = "crc32"
BATCH = struct.Struct("<II")  # number of values, and the crc32 of their bytes, which follow


@contextlib.contextmanager
def open_records(path: Path) -> Iterator[tuple[dict[int, dict[str, Any]], Callable[[dict[int, dict]], None]]]:
    """The cached records of a task: {i: record}, and a function that adds a batch of the same kind.

    An item that is known already is not written again.
    """
    with _locked(path) as file:
        lines = file.read().splitlines(keepends=True)
        read = {line: record for line in lines if (record := _read_line(line))}
        if len(read) < len(lines):
            _rewrite(file, b"".join(read), path, len(lines) - len(read), "records")
        known = {record.pop("i"): record for record in read.values()}

        def add(batch: dict[int, dict[str, Any]]) -> None:
            new = {i: record for i, record in batch.items() if i not in known}
            known.update(new)
            _append(file, "".join(_as_line({"i": i, **record}) for i, record in new.items()).encode())

        yield known, add


def _as_line(record: dict[str, Any]) -> str:
    return json.dumps(record | {CHECKSUM: zlib.crc32(json.dumps(record).encode())}) + "\n"


def _read_line(line: bytes) -> dict[str, Any] | None:
    """The record, or None if it is not what was written."""
    try:
        record = json.loads(line)
        checksum = record.pop(CHECKSUM)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
    whole = line.endswith(b"\n") and checksum == zlib.crc32(json.dumps(record).encode())
    return record if whole else None


@contextlib.contextmanager
def open_losses(path: Path, n: int) -> Iterator[tuple[np.ndarray, Callable[[np.ndarray], None]]]:
    """The cached first part of `n` token losses, float32: those known, and a function that adds the next
    batch of them."""
    with _locked(path) as file:
        content = file.read()
        known, end = _read_batches(content)
        if end < len(content) or len(known) > n:
            known, end = (known, end) if len(known) <= n else (known[:0], 0)
            _rewrite(file, content[:end], path, len(content) - end, "bytes")

        def add(batch: np.ndarray) -> None:
            values = batch.astype("<f4").tobytes()
            _append(file, BATCH.pack(len(batch), zlib.crc32(values)) + values)

        yield known, add


def _read_batches(content: bytes) -> tuple[np.ndarray, int]:
    """The values of whole batches from the beginning on, and where the last of them ends."""
    parts, end = [np.empty(0, "<f4")], 0
    while end + BATCH.size <= len(content):
        n, checksum = BATCH.unpack_from(content, end)
        values = content[end + BATCH.size : end + BATCH.size + 4 * n]
        if not n or len(values) < 4 * n or zlib.crc32(values) != checksum:
            break
        parts.append(np.frombuffer(values, "<f4"))
        end += BATCH.size + len(values)
    return np.concatenate(parts), end


def _rewrite(file: BinaryIO, content: bytes, path: Path, n_dropped: int, what: str) -> None:
    """Keeps `content` of the file, and says how much else there was."""
    print(f"{path}: {n_dropped} damaged {what} of the cache are dropped and asked again", file=sys.stderr)
    file.truncate(0)
    _append(file, content)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, made if need be; another process that has it open is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file  # type: ignore[misc]


def _append(file: BinaryIO, data: bytes) -> None:
    """All of `data`, at the end of the file, on the disk."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())
