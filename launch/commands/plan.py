"""Show the runs of a study, what they cost and whether they fit a device's memory; nothing runs. A stage can
be planned when those before it are done. With --out the plan is written to the study's folder, for `isoflop
submit`: again it changes nothing; with other settings it adds the new runs and sets aside those that no
longer belong.

Example: isoflop plan quickstart --out out/quickstart
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from launch import definition
from launch.lock import only_process
from launch.progress import ROUGH_RATES, duration, measured_rates, n_runs, run_seconds, short
from launch.store import Planned, Store

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder to write the plan to", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "change a setting: FIELD=VALUE; may be repeated", flag_values=FLAGS)
flags.DEFINE_float(
    "device_bytes", None, "memory of a device, 80e9 for example; default: that of one here", flag_values=FLAGS
)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop plan NAME|FILE.py [--out DIR] [--set FIELD=VALUE …] [flags]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the plan; with --out writes it."""
    if len(args) != 1:
        raise ValueError(f"expected the name of a study, got {args}; usage: {USAGE}")
    store = Store(Path(flags.out)) if flags.out else None
    if store:
        definition.check_name(store, args[0])
    from experiments.memory import device_memory
    from experiments.studies import load_study
    from launch.driver import Ahead, plan_stages
    from launch.pool import machine_slots

    study = load_study(args[0], flags.set)
    ahead = write(store, study, args[0], flags.set) if store else Ahead(plan_stages(study))
    device_bytes = flags.device_bytes or device_memory()
    memory = memory_by_shape([run for runs in ahead.plans.values() for run in runs or []], device_bytes)
    if flags.json:
        plain = {
            name: runs and [asdict(run) | {"memory": memory[run.shape]} for run in runs]
            for name, runs in ahead.plans.items()
        }
        print(json.dumps(plain, indent=1))
        return 0
    measured = rates_of(store) if store else {}
    print(as_text(ahead.plans, measured, len(machine_slots()), memory))
    print(fits(memory, device_bytes))
    if store:
        print(changes(store, ahead))
    return 0


def write(store: Store, study: Any, name: str, overrides: list[str]) -> Any:
    """Brings the study's folder up to date with this definition; returns what is planned."""
    from launch.driver import check, stages

    if not store.root.exists():
        check(study)  # settings that cannot be planned are refused before anything is written
    store.create()
    with only_process(store.root / "driver.lock"):
        ahead = next(stages(study, store))
        definition.write(store, name, overrides, study.settings)
        if ahead.stage is not None:
            store.finished.unlink(missing_ok=True)  # what it says was of the study as it was
    return ahead


def changes(store: Store, ahead: Any) -> str:
    """What is new in the folder, and which runs no longer belong."""
    lines = [
        f"{store.folder}: {n_runs(len(ahead.added))} added" if ahead.added else f"{store.folder}: no new runs"
    ]
    if ahead.dropped:
        some = ", ".join(ahead.dropped[:5]) + (" …" if len(ahead.dropped) > 5 else "")
        lines.append(f"{n_runs(len(ahead.dropped))} no longer in the study, set aside: {some}")
    if ahead.stage:
        lines.append(f"`isoflop submit {store.folder}` trains them")
    return "\n".join(lines)


def rates_of(store: Store) -> dict[int, float]:
    """Speeds measured in the study so far."""
    planned = store.planned()
    ended = [planned[run_id] for run_id, state in store.states().items() if state in ("done", "diverged")]
    return measured_rates(store, ended, [])


def memory_by_shape(runs: list[Planned], device_bytes: float) -> dict[str, dict[str, Any]]:
    """Bytes that a run of each shape needs, by what they hold, and the smallest mesh on which it fits."""
    from experiments.config import RunConfig, from_json
    from experiments.memory import needs

    one_of_each = {run.shape: run.config for run in runs}
    return {shape: needs(from_json(RunConfig, config), device_bytes) for shape, config in one_of_each.items()}


def fits(memory: dict[str, dict[str, Any]], device_bytes: float) -> str:
    """What of the planned runs does not fit a device, and on which mesh it would."""
    have = f"a device's {size(device_bytes)}"
    too_large = sorted(
        (each for each in memory.values() if each["mesh"] != {}), key=lambda each: each["total"]
    )
    lines = []
    for each in too_large:
        mesh = ",".join(f"{axis}={n}" for axis, n in (each["mesh"] or {}).items())
        would = (
            f"--mesh {mesh} would ({math.prod(each['mesh'].values())} devices)" if mesh else "no mesh would"
        )
        lines.append(
            f"d_model {each['d_model']} does not fit {have}: it needs {size(each['total'])}; {would}"
        )
    most = max((each["total"] for each in memory.values()), default=0)
    return "\n".join(lines) or f"memory: at most {size(most)} of {have}"


def size(n_bytes: float) -> str:
    """13631488 -> "13.6MB"."""
    return short(n_bytes).replace("B", "G") + "B"


def as_text(
    stages: dict[str, list[Planned] | None],
    measured: dict[int, float],
    n_workers: int,
    memory: dict[str, dict[str, Any]],
) -> str:
    """A table of runs a stage, then what it takes."""
    rates = measured or ROUGH_RATES
    lines, known = [], [run for runs in stages.values() for run in runs or []]
    header = f"  {'run':<14}{'N':>8}{'D':>8}{'FLOPs':>10}{'lr':>9}{'batch':>8}{'d_model':>9}"
    header += f"{'memory':>9}{'time':>14}"
    previous = ""
    for name, runs in stages.items():
        if runs is None:
            lines.append(f"{name}: planned after stage {previous}, from its results")
        else:
            lines += [f"{name}: {n_runs(len(runs))}", header, *(_row(run, rates, memory) for run in runs)]
        previous = name
    flops, seconds = sum(run.flops for run in known), sum(run_seconds(run, rates) for run in known)
    basis = "at the speeds measured here" if measured else "guessed from one CPU core's speed on tiny models"
    lines.append(
        f"in all so far: {n_runs(len(known))}, {flops:.2e} FLOPs, about {duration(seconds / n_workers)} "
        f"with {n_workers} workers, {basis}"
    )
    return "\n".join(lines)


def _row(run: Planned, rates: dict[int, float], memory: dict[str, dict[str, Any]]) -> str:
    config = run.config
    return (
        f"  {run.run_id:<14}{short(run.n_params):>8}{short(run.n_tokens):>8}{run.flops:>10.1e}"
        f"{config['optimizer']['lr']:>9.2g}{config['batch_tokens']:>8}{config['model']['d_model']:>9}"
        f"{size(memory[run.shape]['total']):>9}{duration(run_seconds(run, rates)):>14}"
    )
