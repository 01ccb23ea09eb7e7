"""Training curves for Weights & Biases, where it is installed, mirrored from outside like TensorBoard's."""

import contextlib
import importlib
import json
from pathlib import Path
from types import ModuleType

from experiments.files import read_json, write_atomic
from experiments.training import metrics
from launch.monitor.tensorboard import Seen, measured, news, run_name
from launch.store import Store


def mirror(store: Store, project: str, seen: Seen) -> int:
    """Sends what the runs have measured since the last time; returns how many lines were sent.

    How much of a run was sent is kept in wandb/sent.json in the study's folder.

    Raises:
      ValueError: wandb is not installed.
    """
    try:
        wandb = importlib.import_module("wandb")
    except ImportError:
        raise ValueError("wandb is not installed: pip install wandb") from None
    folder = store.folder / "wandb"
    folder.mkdir(exist_ok=True)
    sent: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError):
        sent = read_json(folder / "sent.json")
    n_sent = 0
    for run, path in news(store, seen):
        lines = metrics.read(path)
        new = lines[sent.get(run.run_id, 0) :]
        if new:
            _send(wandb, folder, project, run, new)
            sent[run.run_id] = len(lines)
            write_atomic(folder / "sent.json", json.dumps(sent))
            n_sent += len(new)
    return n_sent


def _send(wandb: ModuleType, folder: Path, project: str, run, lines: list[dict]) -> None:
    """One session; the run's id makes it the continuation of the sessions before."""
    session = wandb.init(
        project=project,
        id=run.run_id,
        name=run_name(run),
        group=run.stage,
        config=run.config | {"n_params": run.n_params, "n_tokens": run.n_tokens, "flops": run.flops},
        dir=str(folder),
        resume="allow",
        settings=wandb.Settings(silent=True, console="off"),
    )
    for line in lines:
        session.log(measured(line), step=line["step"])
    session.finish()
