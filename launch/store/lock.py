"""One process at a time in a folder.

A few lines of flock(2) rather than the package filelock, which is no dependency otherwise and does not say
which process holds a lock.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.2


@contextlib.contextmanager
def exclusive_lock(path: Path, timeout: float = 0.0) -> Iterator[None]:
    """Holds the lock file `path`; the system drops the lock when the process ends, however it ends.

    Raises:
      ValueError: another process holds it, for longer than `timeout` in seconds.
    """
    deadline = time.monotonic() + timeout
    with open(path, "a+") as file:
        while not _locks(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                raise ValueError(
                    f"{path.parent}: process {file.read().strip()} is at work here; wait for it or stop it"
                )
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locks(file: IO) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
