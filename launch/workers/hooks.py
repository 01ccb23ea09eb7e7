"""Between a run in training and its worker: stop requests, lost leases, progress, heartbeats."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from launch.monitor.display import Every
from launch.store import Store
from launch.store.leases import Lease

POLL_SECONDS = 0.5  # between two checks of the lease, two writes of progress
POLLS_A_SECOND = 16.0  # of all runs that train together, at most: a check may be slow on a shared file system
STOP_SECONDS = 20.0  # from a stop request to the release of the lease, at most


class StopRequested(Exception):
    """The runs were asked to stop, have saved their state, and can be continued."""


@dataclass
class WorkerHooks:
    """What a run in training, one of `n_packed` that train together, reports to its worker and asks it."""

    store: Store
    lease: Lease
    stop: threading.Event
    n_packed: int = 1
    vanished: bool = False  # the lease cannot be touched
    _lost: bool = False

    def __post_init__(self):
        seconds = max(POLL_SECONDS, self.n_packed / POLLS_A_SECOND)
        self._check_due, self._report_due = Every(seconds), Every(seconds)

    def should_stop(self) -> bool:
        """Whether to save the state of all runs that train together and raise StopRequested."""
        return self.stop.is_set()

    def lost(self) -> bool:
        """Whether nothing of the run may be written any more: it is another worker's, or nobody wants it.

        A process that slept past its lease learns it here; the store is asked at most twice a second.
        """
        if not self._lost and self._check_due():
            gone = self.vanished or self.store.lost(self.lease)
            self._lost = gone or self.store.unwanted(self.lease.run_id)
        return self._lost

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        """Shows how far the run is; may be called at every step, writes at most twice a second.

        Args:
          step, n_steps: made, and of the whole run.
          tokens_per_second: since training began here.
          loss: of the step, nats per token.
        """
        if self._report_due() and not self.lost():
            seen = {"step": step, "n_steps": n_steps, "tokens_per_second": tokens_per_second, "loss": loss}
            self.store.report_progress(self.lease, seen)


@contextlib.contextmanager
def heartbeats(hooks: list[WorkerHooks], stop: threading.Event) -> Iterator[None]:
    """Touches the leases three times within their time to live until the block ends.

    A block that has not ended STOP_SECONDS after the stop request, in a step or a compilation that takes
    longer, ends with the process; its leases are released.
    """
    store, ended = hooks[0].store, threading.Event()

    def keep():
        beat_due, requested = time.monotonic() + store.ttl / 3, None
        while not ended.wait(min(store.ttl / 3, POLL_SECONDS)):
            now = time.monotonic()
            if stop.is_set():
                requested = requested or now
                if now - requested > STOP_SECONDS:
                    for hook in hooks:
                        store.release(hook.lease)
                    os._exit(getattr(stop, "code", 0))
            if now >= beat_due:
                beat_due = now + store.ttl / 3
                for hook in hooks:
                    try:
                        store.heartbeat(hook.lease)
                    except OSError:
                        hook.vanished = True

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # else a late beat could undo a release
