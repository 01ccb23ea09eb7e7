"""How a process of ours is set up, and how it learns that it should leave."""

import contextlib
import ctypes
import functools
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

# Exit codes of a worker.
WORK_LEFT = os.EX_TEMPFAIL  # 75: its time is over while runs are left
STORAGE_FAILED = os.EX_IOERR  # 74: no run is to blame, the disk is full or not writable

# Options of glibc's mallopt: M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX. One heap, which never shrinks.
ONE_HEAP = {-4: 0, -1: -1, -8: 1}


def plan_on_cpu() -> dict[str, str]:
    """Prepares this process to plan and fit, and to leave accelerators to the workers; returns the
    environment that those should have."""
    platforms = _platforms_of_workers()
    others = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    return others | ({} if platforms is None else {"JAX_PLATFORMS": platforms})


@functools.cache
def _platforms_of_workers() -> str | None:
    """What JAX_PLATFORMS was before this process took the CPU."""
    before = os.environ.get("JAX_PLATFORMS")
    os.environ["JAX_PLATFORMS"] = "cpu"
    prepare_process()
    return before


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Puts off SIGINT and SIGTERM until the block ends: a library that is interrupted while it loads, such as
    jax, can take the process down with it."""
    missed: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: missed.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
        for number in missed:
            signal.raise_signal(number)


class StopEvent(threading.Event):
    """Set when this worker should leave. code: its exit code, if runs are left."""

    code = 0


def prepare_process(cores: str = "") -> None:
    """Pins this process and names the persistent compile cache. Must come before numpy and jax are imported.

    The matrices of numpy are small here: BLAS threads cost ten times what they give.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cache = Path(os.environ.get("ISOFLOP_CACHE") or Path.home() / ".cache/isoflop")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def keep_memory() -> None:
    """Lets this process keep what it frees, if its C library is glibc. Must come before other threads begin.

    XLA on a CPU allocates what a training step needs anew at every step, and glibc gives memory of that size
    back to the system each time, which takes a fifth of a small step to hand it out again, page by page.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not there: musl, macOS, Windows
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ONE_HEAP.items():
            mallopt(option, value)


def stop_on_signals() -> StopEvent:
    """An event that SIGTERM, SIGINT or SIGUSR1 sets, also while compiled code keeps the main thread; a second
    SIGTERM or SIGINT ends the process at once. Must come before other threads begin."""
    stop = StopEvent()
    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def listen():
        seen: set[int] = set()
        while True:
            number = signal.sigwait(numbers)
            if number in seen and number != signal.SIGUSR1:
                os._exit(128 + number)
            seen.add(number)
            stop.set()

    threading.Thread(target=listen, daemon=True).start()
    return stop


def stop_in(seconds: float, stop: StopEvent, code: int) -> None:
    """Sets the event after so much wall time, with this exit code."""

    def ring():
        stop.code = code
        stop.set()

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()


def stop_at_end_of_input(stop: StopEvent) -> None:
    """Where standard input is a pipe, its end says that whoever holds the other end needs us no more."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def watch():
        while os.read(0, 4096):
            pass
        stop.code = 0
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
