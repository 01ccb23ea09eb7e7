"""A run that a command trains itself, in its own process, shown on the terminal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.files import read_json, write_atomic
from launch.monitor.display import Display, Every
from launch.monitor.text import short
from launch.store.lock import exclusive_lock
from launch.workers.process import keep_memory, stop_on_signals

INTERRUPTED = 130


class ForegroundHooks:
    """Shows the run, and stops it when a signal says so."""

    def __init__(self):
        self.stop = stop_on_signals()
        self.display = Display()
        self.due = Every(0.2)

    def should_stop(self) -> bool:
        return self.stop.is_set()

    def lost(self) -> bool:
        return False  # the folder is locked

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        """As `Hooks.progress` of experiments.training.run_state."""
        if self.due():
            speed = f"{short(tokens_per_second)} tokens/s"
            self.display.show([f"step {step:,}/{n_steps:,} · loss {loss:.3f} · {speed}"])


def train_and_report(
    config,
    out: Path,
    mesh: str,
    summary: Callable[[dict[str, Any], Path], str],
    beside: Callable[[Path], None] | None = None,
) -> int:
    """`train_here` on the devices that --mesh names, and a line about what came of it; the exit code.

    Args:
      config: RunConfig of the run.
      out: its folder.
      mesh: as a flag gives it, data=2,fsdp=4; "": one device.
      summary: (row, path of result.json) -> the line.
      beside: as of `train_here`.

    Raises:
      ValueError: a wrong mesh, or the folder holds another run.
    """
    from models.sharding import make_mesh, parse_mesh

    row = train_here(config, out, make_mesh(parse_mesh(mesh)) if mesh else None, beside)
    if row is None:
        return INTERRUPTED
    print(summary(row, out / "result.json"))
    return 0 if row["status"] == "done" else 1


def train_here(
    config, out: Path, mesh=None, beside: Callable[[Path], None] | None = None
) -> dict[str, Any] | None:
    """Trains the run in the folder `out`, or continues it, and writes its row to result.json, once.

    Args:
      config: RunConfig of the run.
      out: its folder, made if it is not there.
      mesh: devices to spread it over; None: one device.
      beside: writes what else belongs into the folder, once that is known to be this run's.

    Returns:
      The row, now or before; None where a signal stopped the run, which is said.

    Raises:
      ValueError: the folder holds another run.
    """
    from experiments.fields import to_json

    there, result = out / "config.json", out / "result.json"
    if there.exists() and read_json(there) != to_json(config):
        raise ValueError(f"{out}: holds a run of another configuration; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(out / ".lock"):
        if beside is not None:
            beside(out)
        if not result.exists():
            keep_memory()
            hooks = ForegroundHooks()
            from experiments.training.train import Stopped, train

            try:
                row = train(config, out, hooks, mesh)
            except Stopped:
                hooks.display.clear()
                print(f"stopped; the same command continues it from {out}")
                return None
            write_atomic(result, json.dumps(row, indent=1) + "\n")
            hooks.display.clear()
    return read_json(result)
