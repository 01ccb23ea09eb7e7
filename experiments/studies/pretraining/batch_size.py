"""How large may a batch be? The critical batch, how it grows, and a larger run predicted in a large batch.

1. tune: at every batch a sweep of learning rates, one model on one number of tokens.
2. runs: models of several widths at every batch, each at its batch's best rate, on several numbers of tokens.
3. larger: a wider model on more tokens in a large batch. The law `batch` (scaling/laws), fitted to the runs
   before, says first what its loss will be.
4. at the end: what steps cost in tokens at equal loss, the critical batch of each such loss (McCandlish et
   al. 2018, arXiv 1812.06162), and its growth with the tokens.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.pretraining import batch_size_laws, figures, larger_run
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import count, ladder
from scaling.hparams.critical_batch import MIN_BATCHES
from scaling.hparams.sweeps import MIN_SETTINGS
from scaling.hparams.transfer import LrOptimum, transfer
from scaling.report import Picture
from scaling.table.runs import Runs, check

LAW = "batch"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs that differ in their tokens share their steps up to the decay.

    batches: in tokens. lengths: tokens of a run, in whole batches of every size.
    tune_width, tune_tokens: what the rates are swept on.
    n_targets: losses at which batches are compared, for each width.
    """

    seed: int = 0
    family: str = "transformer"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    widths: tuple[int, ...] = (16, 24, 32)
    batches: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    lengths: tuple[int, ...] = (32_768, 65_536, 131_072, 262_144)
    lrs: tuple[float, ...] = (4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
    tune_width: int = 24
    tune_tokens: int = 65_536
    larger_width: int = 40
    larger_tokens: int = 524_288
    larger_batch: int = 2048
    warmup_tokens: int = 8_192
    n_targets: int = 4
    n_val_tokens: int = 32_768
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.batches) < MIN_BATCHES or len(self.lrs) < MIN_SETTINGS or len(self.lengths) < 2:
            raise ValueError(
                f"Settings: a critical batch takes {MIN_BATCHES} batches, a best rate {MIN_SETTINGS} lrs, "
                "and a loss reached with few and with many tokens two lengths"
            )
        if self.larger_batch not in self.batches:
            raise ValueError(
                f"Settings.larger_batch={self.larger_batch}; its rate is known for {list(self.batches)} only"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    tune(settings)
    runs(settings, dict.fromkeys(settings.batches, settings.lrs[0]))
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("tune", lambda done: tune(settings)),
        Stage("runs", lambda done: runs(settings, rates(settings, done))),
        Stage(
            "larger",
            lambda done: [larger(settings, rates(settings, done))],
            whole_machine=True,
            before=lambda folder, done, configs: predict(settings, folder, done, configs[0]),
        ),
    )
    summary = (
        "steps against tokens at equal loss: the critical batch, and a larger run predicted in a large one"
    )
    return Study("batch_size", summary, settings, stages, functools.partial(finish, settings))


def tune(settings: Settings) -> list[RunConfig]:
    """Every rate at every batch."""
    return [
        configure(settings, settings.tune_width, settings.tune_tokens, batch, lr)
        for batch in settings.batches
        for lr in settings.lrs
    ]


def optima(settings: Settings, done: Runs) -> tuple[LrOptimum, ...]:
    """The best rate at each batch, by the sweeps."""
    loss = dict(zip(done.table["run_id"], done.table["loss"]))
    n = len(settings.lrs)
    losses = [loss[config.run_id] for config in tune(settings)]
    sweeps = [dict(zip(settings.lrs, losses[i : i + n])) for i in range(0, len(losses), n)]
    return transfer(sweeps, 0, settings.level).optima


def rates(settings: Settings, done: Runs) -> dict[int, float]:
    """The rate of each batch; three digits of it, so that the plan is the same everywhere."""
    found = optima(settings, done)
    return {batch: float(f"{best.lr:.3g}") for batch, best in zip(settings.batches, found)}


def runs(settings: Settings, lr: dict[int, float]) -> list[RunConfig]:
    """Every width at every batch on every number of tokens."""
    return [
        configure(settings, width, n_tokens, batch, lr[batch])
        for width in settings.widths
        for batch in settings.batches
        for n_tokens in settings.lengths
    ]


def larger(settings: Settings, lr: dict[int, float]) -> RunConfig:
    """The run that is predicted."""
    batch = settings.larger_batch
    return configure(settings, settings.larger_width, settings.larger_tokens, batch, lr[batch])


def configure(settings: Settings, width: int, n_tokens: int, batch: int, lr: float) -> RunConfig:
    """One run.

    Args:
      settings: of the study.
      width: of the model of the ladder.
      n_tokens: to train on.
      batch: tokens of a batch.
      lr: the largest learning rate of the schedule.
    """
    return RunConfig(
        model=ladder(width, settings.data.vocab_size, settings.family),
        data=settings.data,
        optimizer=OptimizerConfig(lr=lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=settings.warmup_tokens),
        batch_tokens=batch,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def fit(settings: Settings, done: Runs) -> scaling.Fit:
    """The law of size, tokens and batch, through the finished ones of the second stage."""
    table = done.table.loc[
        done.table["stage"] == "runs", ["n_params", "n_tokens", "batch_tokens", "flops", "loss"]
    ]
    options = {"n_bootstrap": settings.n_bootstrap, "level": settings.level, "relax": False}
    return scaling.fit(check(table, done.conventions), law=LAW, **options)


def predict(settings: Settings, folder: Path, done: Runs, config: RunConfig) -> None:
    """Writes fit.json and prediction.json: what the law says of the run to come, and of it in small batches.

    Args:
      settings: of the study; folder: of the study.
      done: the runs so far; config: of the run to come.
    """
    law, n_tokens = fit(settings, done), config.n_steps * config.batch_tokens
    n_params = count(config.model).n_params
    at = law.predict(n_params, n_tokens, batch_tokens=config.batch_tokens)
    small = law.predict(n_params, n_tokens, batch_tokens=min(settings.batches))
    write_json(folder / "fit.json", law.to_json())
    about = {"run_id": config.run_id, "n_params": n_params, "n_tokens": n_tokens, "level": settings.level}
    said = {"predicted": at.loss, "lo": at.lo, "hi": at.hi, "in_small_batches": small.loss}
    write_json(folder / "prediction.json", about | {"batch_tokens": config.batch_tokens} | said)


def finish(settings: Settings, folder: Path, done: Runs) -> str:
    """Writes batch_size.json, critical_batches.csv, pictures, and the measured loss into prediction.json."""
    table = done.table.loc[(done.table["stage"] == "runs") & (done.table["status"] == "done")]
    law = scaling.Fit.from_json(folder / "fit.json")
    run = larger_run.with_measurement(folder, done)
    points, critical = batch_size_laws.critical_batches(table, settings.n_targets, settings.level)
    lr = pd.DataFrame(map(dataclasses.asdict, optima(settings, done))).assign(batch_tokens=settings.batches)
    found = {
        "law": {"params": law.params, "ci": law.ci},
        "growth": batch_size_laws.growth(critical, settings.level),
        "rates": lr.to_dict("records"),
        "larger": run,
    }
    write_json(folder / "batch_size.json", found)
    write_atomic(folder / "critical_batches.csv", critical.to_csv(index=False))
    pictures = [
        Picture(
            "trade_off",
            "Fewer steps cost more tokens",
            figures.TRADE_OFF,
            figures.trade_off(points, critical),
        ),
        Picture(
            "critical_batch",
            f"The critical batch grows as D^{law.params['kappa']:.2f}",
            figures.CRITICAL,
            figures.critical_batch(critical, table, law, lr),
        ),
    ]
    write_findings(folder, pictures, {"critical_batches.csv": "Critical batches"})
    return batch_size_laws.in_words(found, critical, settings.lengths[-1])
