"""A study of two stages whose runs tests/launch/fake_worker.py "trains"; as a user's own file would define
one."""

import dataclasses
import json
from dataclasses import dataclass

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.studies import Stage, Study
from models import ladder


@dataclass(frozen=True)
class Settings:
    """n_steps: of a run of 1 ms a step. unlucky: seed of the last run of the first stage."""

    n_steps: int = 100
    unlucky: int = 0
    seed: int = 0


def study(overrides: list[str]) -> Study:
    """Built anew when it is prepared, as studies with data are; it cannot be planned before that."""
    settings = apply_overrides(Settings(), overrides)
    stages = tuple(dataclasses.replace(stage, plan=unprepared) for stage in build(settings).stages)
    return dataclasses.replace(build(settings), stages=stages, prepare=lambda: build(settings))


def unprepared(runs):
    raise AssertionError("planned without its data")


def build(settings: Settings) -> Study:
    def config(d_model: int, lr: float, seed: int = 0) -> RunConfig:
        return RunConfig(
            model=ladder(d_model, 259),
            data=DataConfig(),
            optimizer=OptimizerConfig(lr=lr),
            schedule=ScheduleConfig(),
            batch_tokens=8,
            seq_len=8,
            n_tokens=8 * settings.n_steps,
            seed=seed,
        )

    def sweep(runs):
        assert len(runs.table) == 0
        configs = [config(d_model, lr) for d_model in (16, 32) for lr in (0.1, 0.2, 3.0)]
        return [*configs, config(16, 0.3, settings.unlucky)]

    def verify(runs):
        assert list(runs.table.stage.unique()) == ["sweep"] and len(runs.table) == 7
        best = runs.table[runs.table.status == "done"].sort_values("loss").iloc[0]
        return [config(64, float(best.lr))]

    def predict(folder, runs, configs):
        (folder / "verify.json").write_text(json.dumps({"run_id": configs[0].run_id, "predicted": 2.1}))

    def finish(folder, runs):
        measured = float(runs.table.loss.iloc[-1])
        (folder / "fit.json").write_text(json.dumps({"n_points": len(runs.table)}))
        return f"predicted 2.1, measured {measured:.3f}"

    stages = (Stage("sweep", sweep), Stage("verify", verify, whole_machine=True, before=predict))
    return Study("fake", "two stages", settings, stages, finish)
