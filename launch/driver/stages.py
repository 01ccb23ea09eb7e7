"""Takes a study through its stages: plans each from the results of those before it, gathers all in a table.

A stage is planned from the runs of the stages before it and nothing else, so the plan is the same however
often whoever plans was killed on the way.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.config import RunConfig
from experiments.files import write_atomic
from experiments.studies import Stage, Study
from launch.monitor.text import short, summary
from launch.store import PlannedRun, Store
from models import ModelConfig, count
from scaling.table.runs import Runs

COLUMNS = (
    *("run_id", "stage", "status", "n_params", "n_embed", "n_total", "n_active", "n_tokens", "flops"),
    *("loss", "loss_se", "bits_per_byte", "lr", "batch_tokens", "seq_len", "family", "d_model", "n_layers"),
    *("seed", "epochs", "unique_tokens", "n_steps", "wall_seconds", "flops_per_second"),
)


@functools.lru_cache
def _sizes(model: ModelConfig, seq_len: int) -> tuple[int, float]:
    """Parameters and FLOPs a token."""
    counts = count(model)
    return counts.n_params, counts.flops_per_token(seq_len)


def planned_run(stage: str, config: RunConfig) -> PlannedRun:
    """The store's line for a run."""
    n_params, flops_a_token = _sizes(config.model, config.seq_len)
    n_tokens = config.n_steps * config.batch_tokens
    return PlannedRun(
        run_id=config.run_id,
        stage=stage,
        shape=hashlib.sha256(config.shape_key.encode()).hexdigest()[:8],
        n_params=n_params,
        n_tokens=n_tokens,
        flops=float(flops_a_token * n_tokens),
        config=config.as_json,
        pack=config.pack_key,
        trunk=config.prefix_key,
        branch_step=config.branch_step,
        n_steps=config.n_steps,
    )


@dataclass(frozen=True)
class Ahead:
    """How far a study is planned.

    plans: runs by stage, None for a stage that waits for those before it. stage: the first that has runs to
    do; None when all are done. added: runs that are new in the store. dropped: ids of runs that an earlier
    definition of the study planned and this one does not.
    """

    plans: dict[str, list[PlannedRun] | None]
    stage: Stage | None = None
    added: tuple[PlannedRun, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def stage_of(self) -> dict[str, str]:
        """The stage that first planned a run, by run id, in order."""
        first: dict[str, str] = {}
        for name, plan in self.plans.items():
            for run in plan or []:
                first.setdefault(run.run_id, name)
        return first

    @property
    def waiting(self) -> list[str]:
        """Stages that cannot be planned yet."""
        return [name for name, plan in self.plans.items() if plan is None]


def stages(study: Study, store: Store) -> Iterator[Ahead]:
    """Plans stage after stage into the store, and yields at each that has runs to do.

    The next step of this iterator is due when the runs of `stage` are done; the last one has no stage. One
    process at a time may be in here.
    """
    study = study.prepared()
    plans: dict[str, list[PlannedRun] | None] = {stage.name: None for stage in study.stages}
    for stage in study.stages:
        results = store.results()
        runs = read_table(results, Ahead(plans).stage_of)
        configs = stage.plan(runs)
        plan = plans[stage.name] = [planned_run(stage.name, config) for config in configs]
        if not {run.run_id for run in plan} <= results.keys():
            store.create()
            if stage.before:
                stage.before(store.folder, runs, configs)
            yield _written(store, Ahead(plans, stage), plan)
    yield _written(store, Ahead(plans), [])


def _written(store: Store, ahead: Ahead, plan: list[PlannedRun]) -> Ahead:
    """Brings the store up to date with what is planned now."""
    added = store.plan.add(plan)
    dropped = store.plan.keep_only(ahead.stage_of.keys())
    store.plan.note_waiting(ahead.waiting)
    return Ahead(dict(ahead.plans), ahead.stage, tuple(added), tuple(dropped))


def check(study: Study) -> None:
    """Raises ValueError if the first stage cannot be planned; nothing is written."""
    study.prepared().stages[0].plan(read_table({}, {}))


def plan_stages(study: Study) -> dict[str, list[PlannedRun] | None]:
    """The runs of every stage that can be planned before any run is done; nothing is written."""
    study = study.prepared()
    plans: dict[str, list[PlannedRun] | None] = {}
    for stage in study.stages:
        waits = any(plan != [] for plan in plans.values())
        plans[stage.name] = (
            None if waits else [planned_run(stage.name, config) for config in stage.plan(read_table({}, {}))]
        )
    return plans


def finish(study: Study, store: Store, ahead: Ahead) -> str:
    """Writes the table and the results of a study whose runs are all done; returns its last words."""
    write_table(store, ahead.stage_of)
    runs = read_table(store.results(), ahead.stage_of)
    words = f"\n{final_table(runs)}\n\n{study.prepared().finish(store.folder, runs)}"
    write_atomic(store.finished, words + "\n")
    return summary(store)


def read_table(results: dict[str, dict[str, Any]], stage_of: dict[str, str]) -> Runs:
    """The finished ones of these runs, a row each."""
    here = _of(results, stage_of)
    rows = [row | {"run_id": run_id, "stage": stage_of[run_id]} for run_id, row in here.items()]
    return Runs(pd.DataFrame(rows, columns=list(COLUMNS)), _sidecar(here).get("conventions", {}))


def write_table(store: Store, stage_of: dict[str, str]) -> None:
    """Writes runs.csv and its sidecar runs.json."""
    results = store.results()
    write_atomic(store.folder / "runs.csv", read_table(results, stage_of).table.to_csv(index=False))
    write_atomic(store.folder / "runs.json", json.dumps(_sidecar(_of(results, stage_of)), indent=1) + "\n")


def _of(results: dict[str, dict[str, Any]], stage_of: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The results of these runs, in their order; a store may hold runs that no longer belong."""
    return {run_id: results[run_id] for run_id in stage_of if run_id in results}


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
