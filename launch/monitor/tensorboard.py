"""Training curves for TensorBoard, mirrored from outside: the runs know nothing of it.

    OUT/STAGE/RUN/events.out.tfevents.FIRST.LAST.isoflop     lines FIRST+1 to LAST of the run's metrics.jsonl

A file is whole or absent and never changed, and its name says what it holds: whoever mirrors again, or beside
another, adds only what is new.
"""

import contextlib
import importlib
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.files import sync_folder
from experiments.files.extras import install_command
from experiments.training import metrics
from launch.monitor.text import short
from launch.store import PlannedRun, Store

POSITION = ("step", "tokens", "flops")  # of a line; what else is in it was measured there
NAME = "events.out.tfevents.{:08d}.{:08d}.isoflop"

# What has been seen of a run's file: size and time stamp.
Seen = dict[str, tuple[int, int]]


def mirror(store: Store, out: Path, seen: Seen | None = None) -> int:
    """Adds what the runs have measured since the last time; returns how many lines were added.

    Files that are as they were in `seen` are not read; it is brought up to date.

    Raises:
      ValueError: tensorboardX is not installed.
    """
    writer, seen, n_added = _writer(), {} if seen is None else seen, 0
    for run, path in news(store, seen):
        n_added += _add(writer, out / run.stage / run_name(run), path)
    return n_added


def news(store: Store, seen: Seen) -> list[tuple[PlannedRun, Path]]:
    """Runs whose metrics.jsonl has changed since it was `seen`."""
    changed = []
    for run in store.plan.runs().values():
        path = store.run_folder(run.run_id) / "metrics.jsonl"
        with contextlib.suppress(FileNotFoundError):  # not begun
            status = path.stat()
            if seen.get(run.run_id) != (stamp := (status.st_size, status.st_mtime_ns)):
                seen[run.run_id] = stamp
                changed.append((run, path))
    return changed


def run_name(run: PlannedRun) -> str:
    """What tells a run from its neighbours, and the beginning of its id: "N20.2k-D1.05M-lr0.01-3f2a90"."""
    name = f"N{short(run.n_params)}-D{short(run.n_tokens)}-lr{run.config['optimizer']['lr']:.3g}"
    return f"{name}-{run.run_id[:6]}"


def measured(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl, without its position."""
    numbers = {name: value for name, value in line.items() if isinstance(value, (int, float))}
    return {name: float(value) for name, value in numbers.items() if name not in POSITION}


def _add(writer: tuple[ModuleType, ModuleType], folder: Path, path: Path) -> int:
    stamp = path.stat().st_mtime  # the lines themselves carry no times
    lines = metrics.read(path)
    folder.mkdir(parents=True, exist_ok=True)
    known = [re.fullmatch(r"events\.out\.tfevents\.\d+\.(\d+)\.isoflop", name) for name in os.listdir(folder)]
    first = max((int(match[1]) for match in known if match), default=0)
    if len(lines) <= first:
        return 0
    record_writer, event_pb2 = writer
    scratch = folder / f".{os.getpid()}"
    file = record_writer.RecordWriter(str(scratch))
    file.write(event_pb2.Event(wall_time=stamp, file_version="brain.Event:2").SerializeToString())
    for line in lines[first:]:
        event = event_pb2.Event(wall_time=stamp, step=line["step"])
        for name, value in measured(line).items():
            event.summary.value.add(tag=name, simple_value=value)
        file.write(event.SerializeToString())
    file.flush()
    file.close()
    scratch.replace(folder / NAME.format(first, len(lines)))
    sync_folder(folder)
    return len(lines) - first


def _writer() -> tuple[ModuleType, ModuleType]:
    """tensorboardX's writer of records and its events; TensorFlow is not imported."""
    try:
        return (
            importlib.import_module("tensorboardX.record_writer"),
            importlib.import_module("tensorboardX.proto.event_pb2"),
        )
    except ImportError:
        raise ValueError(f"tensorboardX is not installed: {install_command('tensorboard')}") from None
