"""The log of a run, log.txt in its folder: what its worker notes, and all that is printed while it trains."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def output_into(path: Path) -> Iterator[None]:
    """Appends everything this process prints, compiled code included, to the file."""
    kept = [os.dup(1), os.dup(2)]
    with open(path, "ab") as file:
        _redirect([file.fileno()] * 2)
    try:
        yield
    finally:
        _redirect(kept)
        os.close(kept[0])
        os.close(kept[1])


def _redirect(descriptors: list[int]) -> None:
    """Points standard output and standard error elsewhere."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptors[0], 1)
    os.dup2(descriptors[1], 2)


def append(log: Path, text: str) -> None:
    with open(log, "a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
