"""What the stages of a study that wait will come to: their own plans, asked with made-up results.

A stage that reads the results before it gets those of a plain law, so what it plans is an estimate: of its
sizes and FLOPs a good one, as these follow from budgets, and of its learning rates none.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.config import RunConfig
from experiments.fields import from_json
from experiments.studies import Stage, Study
from launch.driver.runs_table import table_of
from launch.driver.stages import PlannedStages, planned_run
from launch.store import PlannedRun
from models import count
from scaling.table.runs import Runs

# loss = 1 + (SIZE / N)^0.35 + (20 SIZE / D)^0.35: best at 20 tokens a parameter (Hoffmann et al. 2022).
SIZE, PER_PARAM, EXPONENT = 1e5, 20.0, 0.35
TEXT = 1e15  # tokens of the text, so long that nothing is read again
BEND = 0.05  # share by which a rate e times off the middle of those tried raises the loss


@dataclass(frozen=True)
class Expected:
    """Runs of a stage that no stage before it has. from_results: whether they may turn out otherwise."""

    runs: tuple[PlannedRun, ...]
    from_results: bool


class _Unread:
    """In the place of the runs so far, for a plan that does not look at them."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


def rehearse(
    study: Study,
    plans: Mapping[str, list[PlannedRun] | None],
    results: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Expected]:
    """The runs of the stages that wait, by stage; one that cannot plan from made-up results is left out.

    Args:
      study: prepared.
      plans: runs by stage, None for those that wait.
      results: that runs have by now; made up for the others.
    """
    known, expected = dict(plans), {}
    ended = dict(results or {})
    waiting = [i for i, stage in enumerate(study.stages) if known[stage.name] is None]
    for stage in study.stages[: waiting[-1] + 1] if waiting else ():
        so_far = PlannedStages(dict(known))
        if known[stage.name] is None and (made := _asked(stage, so_far, ended)):
            configs, from_results = made
            runs = [planned_run(stage.name, config) for config in configs]
            known[stage.name] = runs
            new = {run.run_id: run for run in runs if run.run_id not in so_far.runs}
            expected[stage.name] = Expected(tuple(new.values()), from_results)
        runs = known[stage.name] or []
        ended = made_up([run for run in runs if run.run_id not in ended]) | ended
    return expected


def _asked(
    stage: Stage, so_far: PlannedStages, ended: dict[str, dict[str, Any]]
) -> tuple[list[RunConfig], bool] | None:
    """What a stage plans, and whether it looked at results; None if it cannot from these."""
    try:
        return stage.plan(_Unread()), False  # type: ignore[arg-type]
    except Exception:  # whatever a plan does without its runs
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return stage.plan(Runs(table_of(ended, so_far.stage_of, so_far.runs))), True
        except Exception:  # or with numbers that its task cannot have
            return None


def made_up(runs: Sequence[PlannedRun]) -> dict[str, dict[str, Any]]:
    """A result for each run of a stage, by its id."""
    rates: dict[int, list[float]] = {}
    for run in runs:
        rates.setdefault(run.n_params, []).append(run.config["optimizer"]["lr"])
    found = {}
    for run in runs:
        config = from_json(RunConfig, run.config)
        best = math.exp(float(np.mean(np.log(rates[run.n_params]))))
        off = 1 + BEND * math.log(config.optimizer.lr / best) ** 2
        loss = off * (1 + (SIZE / run.n_params) ** EXPONENT + (PER_PARAM * SIZE / run.n_tokens) ** EXPONENT)
        counts = count(config.model)
        sizes = {name: getattr(counts, name) for name in ("n_params", "n_embed", "n_total", "n_active")}
        model = {name: getattr(config.model, name) for name in ("family", "d_model", "n_layers")}
        about = {name: getattr(config, name) for name in ("batch_tokens", "seq_len", "seed", "n_steps")}
        row = {"status": "done", "flops": run.flops, "lr": config.optimizer.lr, "n_tokens": run.n_tokens}
        row |= {"unique_tokens": run.n_tokens, "epochs": run.n_tokens / TEXT}
        row |= {"loss_se": 0.01, "bits_per_byte": loss}
        found[run.run_id] = row | sizes | model | about | {"loss": loss, "components": _parts(config, loss)}
    return found


def _parts(config: RunConfig, loss: float) -> dict[str, float]:
    """Columns of the components of mixed data."""
    weights = config.data.mixture.weights if config.data.mixture else {}
    total = sum(weights.values())
    return {
        f"{column}_{name}": value
        for name, weight in weights.items()
        for column, value in {
            "share": weight / total,
            "loss": loss * (1.1 - 0.1 * weight / total),
            "epochs": 1.0,
            "unique_tokens": config.n_tokens * weight / total,
        }.items()
    }
