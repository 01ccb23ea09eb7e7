"""Train one run. Started again it continues, or says that it is done.

Example: isoflop train out/quickstart/runs/3f2a90c1b2d4/config.json --out out/one
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments.files import read_json, user_code
from launch.monitor.text import short
from launch.workers import foreground
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder of the run", flag_values=FLAGS)
flags.DEFINE_string(
    "mesh",
    "",
    "spread the run over all devices: data=2,fsdp=4; also tensor, expert, sequence",
    flag_values=FLAGS,
)
USAGE = "isoflop train CONFIG.json --out DIR [--mesh AXIS=SIZE,…]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Trains the run and writes result.json into its folder."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected a configuration and --out, got {args}; usage: {USAGE}")
    values = user_code.qualified(read_json(Path(args[0])))
    prepare_process()  # before anything imports jax
    from experiments.config import RunConfig
    from experiments.fields import from_json
    from models.sharding import make_mesh, parse_mesh

    mesh = make_mesh(parse_mesh(flags.mesh)) if flags.mesh else None
    out = Path(flags.out)
    row = foreground.train_here(from_json(RunConfig, values), out, mesh)
    if row is None:
        return foreground.INTERRUPTED
    print(_summary(row, out / "result.json"))
    return 0


def _summary(row: dict[str, Any], path: Path) -> str:
    loss = "diverged" if row["status"] == "diverged" else f"loss {row['loss']:.4f} nats per token"
    return f"{row['status']}: {loss} · N {short(row['n_params'])} · D {short(row['n_tokens'])} · {path}"
