"""One process at a time in a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Holds the lock file `path`; the system drops the lock when the process ends, however it ends.

    Raises:
      ValueError: another process holds it.
    """
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{path.parent}: process {file.read().strip()} is at work here; wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
