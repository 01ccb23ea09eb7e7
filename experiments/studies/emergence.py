"""Do abilities emerge? One ladder of models under per-token, all-or-nothing and Brier metrics; misprints.

Every model of the ladder answers the same questions: the next `n_answer` tokens of a text, right only as a
whole. `scaling.emergence.metric_artefact` tests whether a jump of that is the metric's doing. Then one token
of every text is replaced by a wrong one (a misprint): how surprised a model is by it, and how well it goes on
after it, are tested for inverse scaling (`scaling.emergence.inverse_scaling`).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import models
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.evaluate.tasks import span_metrics
from experiments.fields import apply_overrides
from experiments.files import write_atomic
from experiments.studies.budgets import Sweep
from experiments.studies.quickstart import study as quickstart
from experiments.studies.study import Stage, Study, with_prepared_data
from experiments.study_report import write_report
from experiments.training.checkpoints.load import load
from experiments.training.objectives import data_of
from scaling.emergence import FEWEST
from scaling.report.sections.emergence import describe_jumps, describe_misprints
from scaling.table.runs import Runs

AFTER = 8  # tokens after a misprint that are scored


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. One learning rate serves the ladder: its best hardly moves there."""

    seed: int = 0
    family: str = "transformer"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 65_536
    lr: float = 1e-2
    ladder: tuple[Sweep, ...] = (
        *(Sweep(16, 0.5e10), Sweep(16, 1e10), Sweep(16, 2e10), Sweep(24, 4e10), Sweep(24, 8e10)),
        *(Sweep(32, 1.6e11), Sweep(40, 3.2e11), Sweep(48, 6.4e11), Sweep(64, 1.28e12)),
    )
    answers: tuple[int, ...] = (2, 4, 8)


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    if len(settings.ladder) < FEWEST:
        raise ValueError(
            f"Settings.ladder has {len(settings.ladder)} models; the tests need {FEWEST} or more"
        )
    if not all(1 <= n <= settings.seq_len // 2 for n in settings.answers):
        raise ValueError(
            f"Settings.answers={list(settings.answers)}; allowed are 1 to {settings.seq_len // 2}, half a row"
        )
    plan(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (Stage("ladder", lambda runs: plan(settings)),)
    summary = "one ladder of models under smooth and all-or-nothing metrics: does anything emerge?"
    return Study("emergence", summary, settings, stages, lambda folder, runs: finish(settings, folder, runs))


def plan(settings: Settings) -> list[RunConfig]:
    """The models of the ladder."""
    names = {field.name for field in dataclasses.fields(quickstart.Settings)}
    shared = quickstart.Settings(**{name: value for name, value in vars(settings).items() if name in names})
    return [quickstart.configure(shared, rung.d_model, rung.flops, settings.lr) for rung in settings.ladder]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Evaluates every model, writes emergence.csv, misprints.csv and the report, and says what was found."""
    asked, misprints = [], []
    for run in runs.table.loc[runs.table.status == "done"].to_dict("records"):
        about = {name: run[name] for name in ("run_id", "n_params", "n_tokens", "flops")}
        in_answers, beside = evaluate_run(settings, folder / "runs" / run["run_id"])
        asked += [about | row for row in in_answers]
        misprints += [about | row for row in beside]
    tables = {"emergence.csv": pd.DataFrame(asked), "misprints.csv": pd.DataFrame(misprints)}
    for name, table in tables.items():
        write_atomic(folder / name, table.to_csv(index=False))
    write_report(folder, folder / "report.html")
    return "\n".join([*describe_jumps(tables["emergence.csv"]), *describe_misprints(tables["misprints.csv"])])


def evaluate_run(settings: Settings, run: Path) -> tuple[list[dict], list[dict]]:
    """Metrics of one model: a row for each length of answers, and one for each place near a misprint."""
    config, params = load(run)
    model = models.build(config.model)
    batches = data_of(config).validation
    seen = span_metrics.predict(model, params, batches)
    rows, at = np.concatenate(batches), 3 * settings.seq_len // 4
    printed = span_metrics.misprinted(rows, at, np.random.default_rng([settings.seed, at]))
    wrong = printed[:, at] != rows[:, at]
    after = span_metrics.predict(model, params, np.split(printed, len(batches)))
    places = {
        f"the {AFTER} tokens, nothing misprinted": seen.nats_RT[wrong, at : at + AFTER].mean(axis=1),
        f"the {AFTER} tokens after a misprint": after.nats_RT[wrong, at : at + AFTER].mean(axis=1),
        "the misprint itself": after.nats_RT[wrong, at - 1],
    }
    near = [
        {"place": place, "loss": float(nats.mean()), "se": float(nats.std(ddof=1) / np.sqrt(len(nats)))}
        for place, nats in places.items()
    ]
    return [span_metrics.answer_metrics(seen, n) for n in settings.answers], near
