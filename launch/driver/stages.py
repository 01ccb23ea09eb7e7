"""Takes a study through its stages: plans each from the results of those before it.

A stage is planned from the runs of the stages before it and nothing else, so the plan is the same however
often whoever plans was killed on the way. Studies are prepared (`Study.prepared`) before they come here.
"""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.config import RunConfig
from experiments.files import write_atomic
from experiments.studies import Stage, Study
from launch.driver.runs_table import final_table, read_table, write_table
from launch.monitor.text import summary
from launch.store import PlannedRun, Store
from models import ModelConfig, count


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
class PlannedStages:
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
    def runs(self) -> dict[str, PlannedRun]:
        """Every planned run by its id."""
        return {run.run_id: run for plan in self.plans.values() for run in plan or []}

    @property
    def waiting(self) -> list[str]:
        """Stages that cannot be planned yet."""
        return [name for name, plan in self.plans.items() if plan is None]


def stages(study: Study, store: Store) -> Iterator[PlannedStages]:
    """Plans stage after stage into the store, and yields at each that has runs to do.

    The next step of this iterator is due when the runs of `stage` are done; the last one has no stage. One
    process at a time may be in here.
    """
    plans: dict[str, list[PlannedRun] | None] = {stage.name: None for stage in study.stages}
    for stage in study.stages:
        results = store.results()
        so_far = PlannedStages(plans)
        runs = read_table(results, so_far.stage_of, so_far.runs)
        configs = stage.plan(runs)
        plan = plans[stage.name] = [planned_run(stage.name, config) for config in configs]
        if not {run.run_id for run in plan} <= results.keys():
            store.create()
            if stage.before:
                stage.before(store.folder, runs, configs)
            yield _written(store, PlannedStages(plans, stage), plan)
    yield _written(store, PlannedStages(plans), [])


def _written(store: Store, planned: PlannedStages, plan: list[PlannedRun]) -> PlannedStages:
    """Brings the store up to date with what is planned now."""
    added = store.plan.add(plan)
    dropped = store.plan.keep_only(planned.stage_of.keys())
    store.plan.note_waiting(planned.waiting)
    return PlannedStages(dict(planned.plans), planned.stage, tuple(added), tuple(dropped))


def check(study: Study) -> None:
    """Raises ValueError if the first stage cannot be planned; nothing is written."""
    study.stages[0].plan(read_table({}, {}, {}))


def plan_stages(study: Study) -> dict[str, list[PlannedRun] | None]:
    """The runs of every stage that can be planned before any run is done; nothing is written."""
    plans: dict[str, list[PlannedRun] | None] = {}
    for stage in study.stages:
        waits = any(plan != [] for plan in plans.values())
        plans[stage.name] = (
            None
            if waits
            else [planned_run(stage.name, config) for config in stage.plan(read_table({}, {}, {}))]
        )
    return plans


def finish(study: Study, store: Store, planned: PlannedStages) -> str:
    """Writes the table and the results of a study whose runs are all done; returns them in words."""
    from experiments.study_report import CONCLUSION  # which imports what draws; a study has by then

    write_table(store, planned.stage_of)
    runs = read_table(store.results(), planned.stage_of, planned.runs)
    conclusion = study.finish(store.folder, runs)
    write_atomic(store.folder / CONCLUSION, conclusion + "\n")
    words = f"\n{final_table(runs)}\n\n{conclusion}"
    write_atomic(store.finished, words + "\n")
    return summary(store)
