"""Show the runs of a study, what they cost and whether they fit a device's memory; nothing runs. A stage can
be planned when those before it are done; until then its part of the total is an estimate. With --out the plan
is written to the study's folder, for `isoflop submit`: again it changes nothing; with other settings it adds
the new runs and sets aside those that no longer belong. A grid of one's own is a file, which `isoflop init`
begins, or is said by --base and --vary. With --compile the training step of every shape is compiled for
accelerators that need not be here, and what it would do on them is said instead.

Example: isoflop plan quickstart --out out/quickstart
Example: isoflop plan quickstart --set preset=pod --device_bytes 80e9 --site site.toml
Example: isoflop plan grid.toml --out out/grid
Example: isoflop plan --base llama-60m --vary optimizer.lr=1e-3,2e-3 --vary seed=0,1,2 --out out/lr
Example: isoflop plan out/one/config.json --compile h100:8x8 --mesh auto
"""

import contextlib
import gc
import itertools
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from experiments.files import read_json, user_code
from launch.arguments import grids
from launch.arguments.studies import read_site
from launch.monitor import prices
from launch.monitor.display import Display
from launch.monitor.speed import ROUGH_RATES, measured_rates, run_seconds
from launch.monitor.text import duration, n_runs, short
from launch.store import PlannedRun, Store, settings, study_file
from launch.store.lock import exclusive_lock

MANY_RUNS = 1000  # from here on their needs of memory are shown only if asked for
ROWS_SHOWN = 50  # of a stage
IN_EVERY_ROW = ("n_tokens", "optimizer.lr", "batch_tokens", "model.d_model")

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder to write the plan to", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "change a setting: FIELD=VALUE; may be repeated", flag_values=FLAGS)
flags.DEFINE_float(
    "device_bytes", None, "memory of a device, 80e9 for example; default: that of one here", flag_values=FLAGS
)
flags.DEFINE_bool(
    "memory",
    None,
    "show what runs need of a device's memory; each shape takes a moment (default: for up to 1000 runs)",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "compile",
    None,
    "compile every shape's step for accelerators: h100:8, h100:8x8 (hosts x cards), v5e:4x4, v5p:2x2x4",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "mesh",
    None,
    "with --compile: data=2,fsdp=4, or auto, the fastest of a few that fits (default: fsdp over all)",
    flag_values=FLAGS,
)
flags.DEFINE_string("site", None, "TOML file with the prices [cost] of a worker", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
grids.define_flags(FLAGS)
USAGE = "isoflop plan NAME|GRID.toml|FILE.py|--base PRESET [--out DIR] [--set FIELD=VALUE …] [flags]"
USAGE_COMPILE = "isoflop plan NAME|GRID.toml|CONFIG.json --compile h100:8 [--mesh AXIS=SIZE,…|auto]"


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """A plan is many small objects, none of them garbage: a third of the time would go in looking for it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_without_gc()
def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the plan; with --out writes it."""
    grid = grids.grid_text(flags)
    if len(args) != (not grid):
        raise ValueError(f"expected the name of a study, or a grid by --base, got {args}; usage: {USAGE}")
    name = grids.NAME if grid else args[0]
    if flags.mesh and not flags.compile:
        raise ValueError(f"--mesh={flags.mesh} without --compile; usage: {USAGE_COMPILE}")
    if flags.compile:
        os.environ["JAX_PLATFORMS"] = "cpu"  # before anything imports jax: no device of this machine is used
        if not grid and name.endswith(".json") and "batch_tokens" in (config := read_json(Path(name))):
            return compiled([user_code.qualified(config)], flags)
    cost = prices.checked(read_site(flags.site).get("cost", {})) if flags.site else {}
    store = Store(Path(flags.out)) if flags.out else None
    if store:
        study_file.check_name(store, name)
    if name.endswith(".py"):
        user_code.run(name)
    from experiments.studies import load_study
    from experiments.studies.grid import InvalidCells, grid_study
    from launch.driver.rehearsal import rehearse
    from launch.driver.stages import PlannedStages, plan_stages
    from launch.workers.pool import machine_slots

    try:
        study = grid_study(name, grid, flags.set) if grid else load_study(name, flags.set)
    except InvalidCells as error:
        return refused(error)
    only_shown = study.from_the_web and not store
    study = study if only_shown else study.prepared()
    planned = write(store, study, name, flags.set) if store else PlannedStages(plan_stages(study))
    if store and cost:
        prices.note(store, cost)
    expected = rehearse(study, planned.plans, store.results() if store else {})
    runs = [run for plan in planned.plans.values() for run in plan or []]
    runs += [run for each in expected.values() for run in each.runs]
    if flags.compile:
        return compiled(list({run.shape: run.config for run in runs}.values()), flags)
    estimate = len(runs) <= MANY_RUNS if flags.memory is None else flags.memory
    memory, device_bytes = memory_by_shape(runs, flags.device_bytes) if estimate else ({}, 0.0)
    if flags.json:
        plain = {
            name: plan and [asdict(run) | {"memory": memory.get(run.shape)} for run in plan]
            for name, plan in planned.plans.items()
        }
        print(json.dumps(plain, indent=1))
        return 0
    measured = rates_of(store) if store else {}
    cost = cost or (prices.read(store) if store else {})
    print(as_text(planned.plans, measured, len(machine_slots()), memory, expected, cost))
    for note in study.notes:
        print(note)
    if only_shown:
        print("data: not downloaded for a plan that is not kept; with --out they are, and runs get other ids")
    print(fits(memory, device_bytes) if estimate else "memory: not looked at; --memory does")
    if store:
        print(changes(store, planned))
    return 0


def compiled(configs: list[dict[str, Any]], flags: flags.FlagValues) -> int:
    """Prints what runs of these shapes would do on --compile's accelerators; 1 if one does not fit."""
    from experiments.config import RunConfig
    from experiments.fields import from_json
    from launch.accelerators import search, step, topology, words
    from models.sharding import parse_mesh

    there = topology.parse_topology(flags.compile)
    mesh = step.default_mesh(there) if flags.mesh in (None, "auto") else parse_mesh(flags.mesh)
    all_fit, display = True, Display(sys.stderr)
    for config in configs:
        run, tried = from_json(RunConfig, config), []
        if flags.mesh == "auto":
            report, tried = search.fastest_mesh(run, there, lambda text: display.show([text]))
            display.clear()
        else:
            report = step.compile_step(run, there, mesh)
        all_fit &= report.fits
        print(json.dumps(words.as_json(report)) if flags.json else words.report(report, tried), flush=True)
    return 0 if all_fit else 1


def refused(error: Any) -> int:
    """Names the combinations that cannot be runs (`InvalidCells`); returns the exit code."""
    print(f"isoflop: {len(error.found)} of {error.n} combinations cannot be runs:", file=sys.stderr)
    for label, why in error.found[:ROWS_SHOWN]:
        print(f"  {label}: {why}", file=sys.stderr)
    if len(error.found) > ROWS_SHOWN:
        print(f"  … and {len(error.found) - ROWS_SHOWN} more", file=sys.stderr)
    print("mend them, or leave them out by where; nothing is planned", file=sys.stderr)
    return 2


def write(store: Store, study: Any, name: str, overrides: list[str]) -> Any:
    """Brings the study's folder up to date with this definition; returns what is planned.

    Args:
      store: the study's folder.
      study: prepared.
      name: as on the command line, a study's name or FILE.py.
      overrides: FIELD=VALUE each.
    """
    from launch.driver.stages import check, stages

    if not store.root.exists():
        check(study)  # settings that cannot be planned are refused before anything is written
    store.create()
    with exclusive_lock(store.root / "driver.lock"):
        planned = next(stages(study, store))
        study_file.write(store, name, overrides, study.settings, study.files)
        if planned.stage is not None:
            store.finished.unlink(missing_ok=True)  # what it says was of the study as it was
    return planned


def changes(store: Store, planned: Any) -> str:
    """What is new in the folder, and which runs no longer belong."""
    added = f"{n_runs(len(planned.added))} added" if planned.added else "no new runs"
    lines = [f"{store.folder}: {added}"]
    if planned.dropped:
        some = ", ".join(planned.dropped[:5]) + (" …" if len(planned.dropped) > 5 else "")
        lines.append(f"{n_runs(len(planned.dropped))} no longer in the study, set aside: {some}")
    if planned.stage:
        code = "".join(f" --code {shlex.quote(os.path.relpath(file.path))}" for file in user_code.RUN)
        lines.append(f"`isoflop submit {store.argument}{code}` trains them")
    return "\n".join(lines)


def rates_of(store: Store) -> dict[int, float]:
    """Speeds measured in the study so far."""
    planned = store.plan.runs()
    ended = [planned[run_id] for run_id, state in store.states().items() if state in ("done", "diverged")]
    return measured_rates(store, ended)


def memory_by_shape(
    runs: list[PlannedRun], device_bytes: float | None
) -> tuple[dict[str, dict[str, Any]], float]:
    """Bytes that a run of each shape needs, by what they hold, and the smallest mesh on which it fits; and
    the bytes of a device (None: those of one here)."""
    from experiments.config import RunConfig
    from experiments.fields import from_json
    from experiments.training.memory import memory_needs
    from models.sharding import device_memory

    have = device_bytes or device_memory()
    one_of_each = {run.shape: run.config for run in runs}
    return {
        shape: memory_needs(from_json(RunConfig, config), have) for shape, config in one_of_each.items()
    }, have


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
    stages: dict[str, list[PlannedRun] | None],
    measured: dict[int, float],
    n_workers: int,
    memory: dict[str, dict[str, Any]],
    expected: dict[str, Any] | None = None,
    cost: dict[str, Any] | None = None,
) -> str:
    """A table of runs a stage, then what it takes.

    Args:
      stages: runs by stage, None for a stage that waits.
      measured: FLOP/s of a worker by parameters of the model; {} before anything ran.
      n_workers: that train at once.
      memory: needs by shape, see `memory_by_shape`; {} leaves them out.
      expected: what stages that wait will come to, see `rehearsal.rehearse`.
      cost: prices of a worker, see `prices`; nobody said any: money is left out.
    """
    said = prices.said_rates(cost or {})
    rates, expected = measured or said or ROUGH_RATES, expected or {}
    lines, known = [], [run for runs in stages.values() for run in runs or []]
    differing = _differing(known)
    header = f"  {'run':<14}{'N':>8}{'D':>8}{'FLOPs':>10}{'lr':>9}{'batch':>8}{'d_model':>9}"
    header += "".join(f"{column:>{width}}" for _, column, width in differing)
    header += f"{'memory':>9}{'time':>14}"
    previous = ""
    for name, runs in stages.items():
        if runs is None:
            about, how = expected.get(name), ", from its results"
            if about:
                how = f"{how}; about" if about.from_results else ":"
            take = f" {n_runs(len(about.runs))}, {flops_of(about.runs):.2e} FLOPs" if about else ""
            lines.append(f"{name}: planned after stage {previous}{how}{take}")
        else:
            rows = [_row(run, rates, memory, differing) for run in runs[:ROWS_SHOWN]]
            lines += [f"{name}: {n_runs(len(runs))}", header, *rows]
            if len(runs) > ROWS_SHOWN:
                lines.append(f"  … and {n_runs(len(runs) - ROWS_SHOWN)} more")
        previous = name
    flops, saved = flops_of(known), saved_by_shared_prefixes(known)
    seconds = sum(run_seconds(run, rates) for run in known) * (1 - saved / flops if flops else 1)
    if saved:
        lines.append(
            f"shared prefixes save {saved:.2e} of {flops:.2e} FLOPs ({saved / flops:.0%}): runs that differ "
            "in their length train their first steps once"
        )
    guessed = "at [cost].flops_per_second" if said else "guessed from one CPU core's speed on tiny models"
    basis = "at the speeds measured here" if measured else guessed
    workers = f"{n_workers} worker{'' if n_workers == 1 else 's'}"
    lines.append(
        f"in all so far: {n_runs(len(known))}, {flops - saved:.2e} FLOPs, "
        f"about {duration(seconds / n_workers)} with {workers}, {basis}"
    )
    if later := [run for each in expected.values() for run in each.runs]:
        seconds += sum(run_seconds(run, rates) for run in later)
        unknown = [name for name, runs in stages.items() if runs is None and name not in expected]
        about = "about " if any(each.from_results for each in expected.values()) else ""
        lines.append(
            f"with the stages that wait: {about}{n_runs(len(known) + len(later))}, "
            f"{flops - saved + flops_of(later):.2e} FLOPs, about {duration(seconds / n_workers)}"
            + (f"; without {', '.join(unknown)}, which depends on results" if unknown else "")
        )
    if cost:
        lines.append(f"cost: {prices.words(seconds, cost)}")
    return "\n".join([*lines, *untaught_routers(known)])


def untaught_routers(runs: Sequence[PlannedRun]) -> list[str]:
    """Says of runs whose tokens go to one expert of several, at a weight of 1, that no loss teaches which."""
    experts = [run.config["model"].get("experts") or {} for run in runs]
    n = sum(e.get("top_k") == 1 < e.get("n_experts", 1) and e.get("renormalize", True) for e in experts)
    if not n:
        return []
    return [
        f"in doubt: {n_runs(n)} with top_k=1 and renormalize=true: an expert's weight is always 1, so "
        "the router learns from its balance alone; set model.experts.renormalize=false"
    ]


def flops_of(runs: Sequence[PlannedRun]) -> float:
    """Of all of them together."""
    return sum(run.flops for run in runs)


def saved_by_shared_prefixes(runs: list[PlannedRun]) -> float:
    """FLOPs of the steps that runs take over from the next shorter run of their prefix."""
    sharing: dict[str, list[PlannedRun]] = {}
    for run in runs:
        if run.trunk:
            sharing.setdefault(run.trunk, []).append(run)
    saved = 0.0
    for alike in sharing.values():
        alike.sort(key=lambda run: run.branch_step)
        for shorter, run in itertools.pairwise(alike):
            saved += run.flops * shorter.branch_step / run.n_steps
    return saved


def _differing(runs: list[PlannedRun]) -> list[tuple[str, str, int]]:
    """Settings that tell the runs apart besides those of every row: (name, heading, width of the column)."""
    found = []
    for name in settings.telling(run.config for run in runs):
        if name not in IN_EVERY_ROW:
            cells = [settings.column(name), *(_cell(run, name) for run in runs)]
            found.append((name, cells[0], 2 + max(map(len, cells))))
    return found


def _cell(run: PlannedRun, name: str) -> str:
    from launch.driver.runs_table import setting

    return settings.written(setting(run.config, name))


def _row(
    run: PlannedRun,
    rates: dict[int, float],
    memory: dict[str, dict[str, Any]],
    differing: list[tuple[str, str, int]],
) -> str:
    config = run.config
    needs = size(memory[run.shape]["total"]) if memory else ""
    return (
        f"  {run.run_id:<14}{short(run.n_params):>8}{short(run.n_tokens):>8}{run.flops:>10.1e}"
        f"{config['optimizer']['lr']:>9.2g}{config['batch_tokens']:>8}{config['model']['d_model']:>9}"
        f"{''.join(f'{_cell(run, name):>{width}}' for name, _, width in differing)}"
        f"{needs:>9}{duration(run_seconds(run, rates)):>14}"
    )
