"""What do weights of few bits cost? Runs with rounded matrices, the law of precision, a larger run predicted.

1. grid: models of several widths on several numbers of tokens, their matrices rounded to several numbers of
   bits wherever they are used (models/quantization.py).
2. larger: a wider model of few bits on more tokens, which the law of the grid predicts first.
3. at the end: as how many parameters one of so many bits counts (Kumar et al. 2024, arXiv 2411.04330).
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_json
from experiments.studies.pretraining import figures, larger_run
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import count, ladder
from models.configs.layers import FULL
from scaling.report import Picture
from scaling.table.runs import Runs, check

COLUMNS = ["n_params", "n_tokens", "weight_bits", "flops", "loss"]


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. One learning rate serves all. Runs that differ in tokens share their
    steps up to the decay.

    bits: of a weight; 32 is no rounding. lengths: tokens of a run.
    """

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    widths: tuple[int, ...] = (16, 24, 32)
    bits: tuple[int, ...] = (2, 3, 4, 6, FULL)
    lengths: tuple[int, ...] = (131_072, 262_144, 524_288)
    lr: float = 1e-2
    larger_width: int = 40
    larger_tokens: int = 1_048_576
    larger_bits: int = 3
    warmup_tokens: int = 4_096
    n_val_tokens: int = 32_768
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(set(self.bits)) < 3 or len(self.widths) * len(self.lengths) < 6:
            raise ValueError("Settings: the law needs three numbers of bits, and six sizes and lengths")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    grid(settings)
    larger(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("grid", lambda done: grid(settings)),
        Stage(
            "larger",
            lambda done: [larger(settings)],
            whole_machine=True,
            before=lambda folder, done, configs: predict(settings, folder, done, configs[0]),
        ),
    )
    summary = "weights of few bits in training: as how many parameters they count"
    return Study("precision", summary, settings, stages, functools.partial(finish, settings))


def grid(settings: Settings) -> list[RunConfig]:
    """Every width with every number of bits on every number of tokens."""
    return [
        configure(settings, width, bits, n_tokens)
        for width in settings.widths
        for bits in settings.bits
        for n_tokens in settings.lengths
    ]


def larger(settings: Settings) -> RunConfig:
    """The run that is predicted."""
    return configure(settings, settings.larger_width, settings.larger_bits, settings.larger_tokens)


def configure(settings: Settings, width: int, bits: int, n_tokens: int) -> RunConfig:
    """One run.

    Args:
      settings: of the study.
      width: of the model of the ladder.
      bits: of a weight in its blocks.
      n_tokens: to train on.
    """
    return RunConfig(
        model=ladder(width, settings.data.vocab_size, weight_bits=bits),
        data=settings.data,
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=settings.warmup_tokens),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def predict(settings: Settings, folder: Path, done: Runs, config: RunConfig) -> None:
    """Writes fit.json and prediction.json: what the law says of the run to come, and of it without rounding.

    Args:
      settings: of the study; folder: of the study.
      done: the runs so far; config: of the run to come.
    """
    runs = check(done.table.loc[done.table["stage"] == "grid", COLUMNS], done.conventions, needed=COLUMNS)
    law = scaling.fit(runs, law="precision", n_bootstrap=settings.n_bootstrap, level=settings.level)
    n_params, n_tokens = count(config.model).n_params, config.n_steps * config.batch_tokens
    at = law.predict(n_params, n_tokens, weight_bits=settings.larger_bits)
    whole = law.predict(n_params, n_tokens, weight_bits=FULL)
    write_json(folder / "fit.json", law.to_json())
    about = {"run_id": config.run_id, "n_params": n_params, "n_tokens": n_tokens, "level": settings.level}
    said = {"predicted": at.loss, "lo": at.lo, "hi": at.hi, "not_rounded": whole.loss}
    write_json(folder / "prediction.json", about | {"weight_bits": settings.larger_bits} | said)


def finish(settings: Settings, folder: Path, done: Runs) -> str:
    """Writes precision.json, the picture, and the measured loss into prediction.json."""
    table = done.table.loc[(done.table["stage"] == "grid") & (done.table["status"] == "done")]
    law = scaling.Fit.from_json(folder / "fit.json")
    run = larger_run.with_measurement(folder, done)
    found = {
        "law": {"params": law.params, "ci": law.ci, "status": law.status},
        "counts_as": counts_as(law, settings.bits),
        "larger": run,
    }
    write_json(folder / "precision.json", found)
    words = in_words(found)
    png = figures.precision(pd.DataFrame(table), law, found["counts_as"])
    title = words.partition("\n")[0]
    write_findings(folder, [Picture("precision", title, figures.PRECISION, png)])
    return words


def counts_as(law: scaling.Fit, bits: tuple[int, ...]) -> list[dict[str, float]]:
    """The share of its parameters that a model of so many bits counts as, with intervals, by the law."""
    at = list(law.params).index("gamma")
    ends = [(1 - law.level) / 2, (1 + law.level) / 2]
    rows = []
    for each in bits:
        lo, hi = np.quantile(1 - np.exp(-each / law.samples[:, at]), ends)
        share = 1 - np.exp(-each / law.params["gamma"])
        rows.append({"weight_bits": each, "share": float(share), "lo": float(lo), "hi": float(hi)})
    return rows


def in_words(found: dict[str, Any]) -> str:
    """The finding, a line each; found: precision.json."""
    fewest = min(found["counts_as"], key=lambda row: row["weight_bits"])
    shares = ", ".join(f"{row['weight_bits']}: {row['share']:.2f}" for row in found["counts_as"])
    run = found["larger"]
    held = larger_run.in_words(run, f"{run['not_rounded']:.4f} if not rounded")
    return "\n".join(
        [
            f"a parameter of {fewest['weight_bits']} bits counts as {fewest['share']:.2f} "
            f"[{fewest['lo']:.2f}, {fewest['hi']:.2f}] of one",
            f"by bits: {shares}",
            f"N = {run['n_params']:,} of {run['weight_bits']} bits on {run['n_tokens']:,} tokens: {held}",
        ]
    )
