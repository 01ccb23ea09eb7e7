"""A worker process: claims planned runs, trains those that fit together, and records what came of each.

    python -P -m launch.workers.worker DIR [--pack auto|K] [--seconds S] [--wait] [--cores 0,1] [--hosts]
        [--code FILE.py@SHA256]

It prefers runs whose compiled step it already has. On SIGTERM, SIGINT or SIGUSR1 it checkpoints, releases
its runs and exits with 0, within 20 s: if that does not suffice, it gives up the steps since the last
checkpoint. With --seconds it leaves in time before so much wall time is over; its exit code is 75 if runs
are left then. With --wait it stays for runs planned later, until the study is finished, and its exit code is
75 if it had to leave before; where its standard input is a pipe, from a pool that started it, it leaves when
that ends. With --hosts it trains each run on all devices of all hosts that were started together
(launch/workers/multihost_worker.py). With --code it runs a file of the user's own that the study was planned
with, so that configurations may name what is in it.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from experiments.files import user_code
from launch.store import Store
from launch.workers import multihost_worker, work_loop
from launch.workers.hooks import STOP_SECONDS
from launch.workers.process import (
    STORAGE_FAILED,
    WORK_LEFT,
    keep_memory,
    prepare_process,
    stop_at_end_of_input,
    stop_in,
    stop_on_signals,
)
from launch.workers.trainer import Trainer, jax_trainer

LEAVE_SECONDS = STOP_SECONDS + 5  # before its time is over a worker begins to leave


def main(trainer: Trainer | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -P -m launch.workers.worker", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--pack", default="auto", help="runs that train as one program: auto or a number")
    parser.add_argument("--seconds", type=float, help="leave before so many seconds of wall time are over")
    parser.add_argument("--wait", action="store_true", help="wait for more runs until the study is finished")
    parser.add_argument("--cores", default="", help="cores to stay on, for example 0,1")
    parser.add_argument("--hosts", action="store_true", help="train runs together with the other hosts")
    parser.add_argument("--code", action="append", default=[], help="a file of yours to run: FILE.py@SHA256")
    arguments = parser.parse_args()
    keep_memory()
    stop = stop_on_signals()
    if arguments.wait:
        stop.code = WORK_LEFT
        stop_at_end_of_input(stop)
    if arguments.seconds:
        stop_in(max(arguments.seconds - LEAVE_SECONDS, arguments.seconds / 2), stop, WORK_LEFT)
    prepare_process(arguments.cores)
    store = Store(arguments.folder)
    for given in arguments.code:
        user_code.run(given)
    try:
        if arguments.hosts:
            return multihost_worker.run(store, stop, arguments.wait)
        work_loop.work(store, trainer or jax_trainer(), stop, arguments.wait, arguments.pack)
        return work_loop.exit_code(store, stop, arguments.wait)
    except OSError as error:
        with contextlib.suppress(OSError):
            print(error, file=sys.stderr, flush=True)
        os._exit(STORAGE_FAILED)  # the usual way out would flush into the full disk again and lose the code


if __name__ == "__main__":
    sys.exit(main())
