"""The best rate of a small model, at larger ones. `isoflop plan template.py` shows the runs, `isoflop study
template.py --out DIR` trains them.

A study is a list of stages; a stage turns the runs so far into the next runs. This one tries learning rates
at one size, then trains larger models at the best of them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.studies import Stage, Study
from experiments.studies.study import with_prepared_data
from experiments.study_report import write_report
from models import ladder
from scaling.table.runs import Runs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change, such as --set seed=1 or --set data.task=files."""

    lrs: tuple[float, ...] = (5e-3, 1e-2, 2e-2)
    d_models: tuple[int, ...] = (24, 32)
    n_tokens: int = 500_000
    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)


def study(overrides: list[str]) -> Study:
    """What isoflop asks for. The text is prepared, that is made into tokens, before a stage is planned."""
    settings = apply_overrides(Settings(), overrides)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose text is prepared."""
    stages = (
        Stage("rates", lambda runs: rates(settings)),
        Stage("sizes", lambda runs: sizes(settings, runs)),
    )
    return Study("template", "the best rate of a small model, at larger ones", settings, stages, finish)


def rates(settings: Settings) -> list[RunConfig]:
    """Every rate at the smallest size."""
    return [run(settings, 16, lr) for lr in settings.lrs]


def sizes(settings: Settings, runs: Runs) -> list[RunConfig]:
    """All sizes at the best rate. Stages are pure: the same runs so far give the same answer."""
    best = runs.table.sort_values("loss").iloc[0]
    return [run(settings, d_model, float(best.lr)) for d_model in settings.d_models]


def run(settings: Settings, d_model: int, lr: float) -> RunConfig:
    """One run: everything that can change its result, and nothing else."""
    return RunConfig(
        model=ladder(d_model, settings.data.vocab_size),
        data=settings.data,
        optimizer=OptimizerConfig(lr=lr),
        schedule=ScheduleConfig(),
        batch_tokens=512,
        seq_len=128,
        n_tokens=settings.n_tokens,
        seed=settings.seed,
    )


def finish(folder: Path, runs: Runs) -> str:
    """Writes the page when all runs are done, and says what was found. runs.table has a row a run."""
    write_report(folder, folder / "report.html")
    best = runs.table.sort_values("loss").iloc[0]
    return f"lowest loss {best.loss:.4f}, of d_model {best.d_model} at rate {best.lr:g}"
