"""What a checkpoint responded, kept on disk: a kill at any moment loses the batch in work and nothing else.

Both kinds of file are only ever appended to, a batch at a time, each batch made durable before the next, by
one process at a time. What a crash left half-written at the end is cut off when the file is opened again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextlib.contextmanager
def open_records(path: Path) -> Iterator[tuple[dict[int, dict[str, Any]], Callable[[dict[int, dict]], None]]]:
    """The cached records of a task: {i: record}, and a function that adds a batch of the same kind.

    An item that is known already is not written again.
    """
    with _locked(path) as file:
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        known = {record.pop("i"): record for record in map(json.loads, whole.splitlines())}
        file.truncate(len(whole))

        def add(batch: dict[int, dict[str, Any]]) -> None:
            new = {i: record for i, record in batch.items() if i not in known}
            known.update(new)
            lines = (json.dumps({"i": i, **record}) + "\n" for i, record in new.items())
            _append(file, "".join(lines).encode())

        yield known, add


@contextlib.contextmanager
def open_losses(path: Path, n: int, row: int) -> Iterator[tuple[np.ndarray, Callable[[np.ndarray], None]]]:
    """The cached part of `n` token losses in order, float32: those known, and a function that adds more.

    What is known are whole windows of `row` losses; the last of all may be shorter.
    """
    with _locked(path) as file:
        content = file.read()
        n_known = min(len(content) // 4, n)
        n_known = n_known if n_known == n else n_known // row * row
        file.truncate(4 * n_known)
        known = np.frombuffer(content, "<f4", n_known)
        yield known, lambda more: _append(file, more.astype("<f4").tobytes())


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
