"""Drives a study through its stages: plan, have the runs trained, gather their results.

A stage is planned from the runs of the stages before it and nothing else, so the plan is the same however
often the driver was killed on the way.
"""

import hashlib
import json
import time
from typing import Any

import pandas as pd

from experiments.config import RunConfig, to_json
from experiments.files import write_atomic
from experiments.studies import Stage, Study
from launch.local import Pool, Slot
from launch.progress import Display, duration, finished_line, n_runs, short, snapshot, stage_lines
from launch.store import Planned, Store
from models import count
from scaling.runs import Runs

POLL_SECONDS = 0.2
COLUMNS = (
    *("run_id", "stage", "status", "n_params", "n_embed", "n_total", "n_active", "n_tokens", "flops"),
    *("loss", "loss_se", "bits_per_byte", "lr", "batch_tokens", "seq_len", "family", "d_model", "n_layers"),
    *("seed", "epochs", "unique_tokens", "n_steps", "wall_seconds", "flops_per_second"),
)


def planned_run(stage: str, config: RunConfig) -> Planned:
    """The store's line for a run."""
    counts = count(config.model)
    n_tokens = config.n_steps * config.batch_tokens
    return Planned(
        run_id=config.run_id,
        stage=stage,
        shape=hashlib.sha256(config.shape_key.encode()).hexdigest()[:8],
        n_params=counts.n_params,
        n_tokens=n_tokens,
        flops=float(counts.flops_per_token(config.seq_len) * n_tokens),
        config=to_json(config),
    )


def plan_stages(study: Study, results: dict[str, dict[str, Any]]) -> dict[str, list[Planned] | None]:
    """The runs of every stage that the results allow to plan; None for a stage that must wait for more."""
    plans: dict[str, list[Planned] | None] = {}
    stage_of: dict[str, str] = {}
    for stage in study.stages:
        if stage_of.keys() <= results.keys() and None not in plans.values():
            plan = [planned_run(stage.name, config) for config in stage.plan(read_table(results, stage_of))]
            stage_of = {run.run_id: stage.name for run in plan} | stage_of
            plans[stage.name] = plan
        else:
            plans[stage.name] = None
    return plans


class RunsFailed(Exception):
    """Runs of a stage have used up their attempts; later stages cannot be planned without them."""

    def __init__(self, run_ids: list[str]):
        super().__init__(f"{n_runs(len(run_ids))} failed")
        self.run_ids = run_ids


def drive(
    study: Study, store: Store, pool: Pool, display: Display, parts: list[Slot], whole: list[Slot]
) -> Runs:
    """Brings every run of every stage to its end and the table of runs up to date; returns it.

    Stages use the machine in `parts`, or the `whole` of it for one run at a time.

    Raises:
      RunsFailed: at the end of the first stage with failed runs.
      WorkersFailed, OSError: as Pool.check.
    """
    stage_of: dict[str, str] = {}  # the stage that first planned a run, in order
    for k, stage in enumerate(study.stages, 1):
        title = f"stage {k}/{len(study.stages)} {stage.name}"
        slots = whole if stage.whole_machine else parts
        if not _was_finished(store, stage):
            pool.use(slots)  # workers load their libraries while the stage is planned
        runs = read_table(store.results(), stage_of)
        configs = stage.plan(runs)
        plan = [planned_run(stage.name, config) for config in configs]
        stage_of |= {run.run_id: stage.name for run in plan if run.run_id not in stage_of}
        if not plan:
            display.say(f"{title}: no runs needed")
        elif not {run.run_id for run in plan} <= store.results().keys():
            if stage.before:
                stage.before(store.folder, runs, configs)
            store.add(plan)
            pool.use(slots)
            began = time.monotonic()
            failed = _wait(store, pool, display, plan, title, len(slots))
            write_table(store, stage_of)
            if failed:
                raise RunsFailed(failed)
            display.say(f"{title}: {n_runs(len(plan))} done, {duration(time.monotonic() - began)}")
    pool.use([])
    return read_table(store.results(), stage_of)


def _was_finished(store: Store, stage: Stage) -> bool:
    """Whether an earlier driver completed the stage, as far as can be told without planning it."""
    run_ids = {run.run_id for run in store.planned().values() if run.stage == stage.name}
    return bool(run_ids) and run_ids <= store.results().keys()


def _wait(
    store: Store, pool: Pool, display: Display, plan: list[Planned], title: str, n_workers: int
) -> list[str]:
    """Watches until every run of the plan has ended; returns the ids of those that failed."""
    told = set(store.results())
    while True:
        states, results = store.states(), store.results()
        if not display.live:
            for run_id in results.keys() - told:
                display.say(f"{title} · {finished_line(store.planned()[run_id], results[run_id])}")
        told |= results.keys()
        seen = snapshot(store, n_workers)
        display.show(stage_lines(seen, plan[0].stage, title, display.columns, display.bar))
        if not any(states[run.run_id] in ("planned", "running") for run in plan):
            display.clear()
            return [run.run_id for run in plan if states[run.run_id] == "failed"]
        pool.check(len(results))
        time.sleep(POLL_SECONDS)


def read_table(results: dict[str, dict[str, Any]], stage_of: dict[str, str]) -> Runs:
    """The finished ones of these runs, a row each."""
    rows = [
        results[run_id] | {"run_id": run_id, "stage": stage}
        for run_id, stage in stage_of.items()
        if run_id in results
    ]
    return Runs(pd.DataFrame(rows, columns=list(COLUMNS)), _sidecar(results).get("conventions", {}))


def write_table(store: Store, stage_of: dict[str, str]) -> None:
    """Writes runs.csv and its sidecar runs.json."""
    results = store.results()
    write_atomic(store.folder / "runs.csv", read_table(results, stage_of).table.to_csv(index=False))
    write_atomic(store.folder / "runs.json", json.dumps(_sidecar(results), indent=1) + "\n")


def final_table(runs: Runs) -> str:
    """The study in a line a stage."""
    lines = [f"{'stage':<10}{'runs':>6}{'diverged':>10}{'N':>16}{'FLOPs':>10}{'best loss':>11}"]
    for stage, rows in runs.table.groupby("stage", sort=False):
        sizes = "–".join(short(n) for n in sorted({rows.n_params.min(), rows.n_params.max()}))
        lines.append(
            f"{stage:<10}{len(rows):>6}{(rows.status == 'diverged').sum():>10}{sizes:>16}"
            f"{rows.flops.sum():>10.1e}{rows.loss.min():>11.4f}"
        )
    return "\n".join(lines)


def _sidecar(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What all rows share: conventions and versions; and every kind of device that was used."""
    if not results:
        return {}
    first = next(iter(results.values()))
    data = {"name": first["data"]["task"], **first["data"]}
    tokenizer = data.pop("tokenizer")
    conventions = first["conventions"] | {"tokenizer": tokenizer, "data": data}
    devices = sorted({result["device"] for result in results.values()})
    return {"conventions": conventions, "versions": first["versions"], "device": ", ".join(devices)}
