"""Train one run. Started again it continues, or says that it is done.

Example: isoflop train out/quickstart/runs/3f2a90c1b2d4/config.json --out out/one
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from launch.monitor.display import Display, Every
from launch.monitor.text import short
from launch.store.lock import exclusive_lock
from launch.workers.process import prepare_process, stop_on_signals

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder of the run", flag_values=FLAGS)
flags.DEFINE_string(
    "mesh",
    "",
    "spread the run over all devices: data=2,fsdp=4; also tensor, expert, sequence",
    flag_values=FLAGS,
)
USAGE = "isoflop train CONFIG.json --out DIR [--mesh AXIS=SIZE,…]"
INTERRUPTED = 130


class Hooks:
    """Shows a run that this process trains itself, and stops it when a signal says so."""

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


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Trains the run and writes result.json into its folder."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected a configuration and --out, got {args}; usage: {USAGE}")
    values = _read(Path(args[0]))
    prepare_process()  # before anything imports jax
    from experiments.config import RunConfig
    from experiments.fields import from_json, to_json
    from experiments.files import write_atomic
    from models.sharding import make_mesh, parse_mesh

    mesh = make_mesh(parse_mesh(flags.mesh)) if flags.mesh else None
    config = from_json(RunConfig, values)
    out = Path(flags.out)
    there = out / "config.json"
    if there.exists() and _read(there) != to_json(config):
        raise ValueError(f"{out}: holds a run of another configuration; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    result = out / "result.json"
    with exclusive_lock(out / ".lock"):
        if not result.exists():
            hooks = Hooks()
            from experiments.training.train import Stopped, train

            try:
                row = train(config, out, hooks, mesh)
            except Stopped:
                hooks.display.clear()
                print(f"stopped; the same command continues it from {out}")
                return INTERRUPTED
            write_atomic(result, json.dumps(row, indent=1) + "\n")
            hooks.display.clear()
    print(_summary(_read(result), result))
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None


def _summary(row: dict[str, Any], path: Path) -> str:
    loss = "diverged" if row["status"] == "diverged" else f"loss {row['loss']:.4f} nats per token"
    return f"{row['status']}: {loss} · N {short(row['n_params'])} · D {short(row['n_tokens'])} · {path}"
