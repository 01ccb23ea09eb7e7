"""What are tokens worth that a model meets again? Epochs at fixed unique tokens, under several weight decays.

1. runs: models of several widths; on a part of the corpus again and again, and once on more and more of it.
2. at the end: for each weight decay, the law of repeats that are worth less and less (Muennighoff et al.
   2023) beside the law of repeats that do harm (Lovelace et al. 2026), and the epochs of the lowest loss.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import (
    DataConfig,
    MixtureConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    SourceConfig,
)
from experiments.fields import Numbers, apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from models import ladder
from scaling.table.runs import Runs, check

LAWS = {"data_constrained": ("R_D", "R_N"), "overfitting": ("P", "delta", "kappa")}  # what is theirs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs that differ in their epochs share their steps up to the decay.

    source: the corpus, as the only component of a mixture, of which a part can be read.
    unique_tokens: parts of the corpus that are repeated; fresh: tokens of runs that meet each once.
    """

    seed: int = 0
    source: SourceConfig = dataclasses.field(default_factory=lambda: SourceConfig("text", "docstrings"))
    widths: tuple[int, ...] = (16, 24, 32)
    unique_tokens: tuple[int, ...] = (25_000, 100_000)
    epochs: tuple[int, ...] = (1, 2, 4, 8, 16, 40)
    fresh: tuple[int, ...] = (200_000, 400_000, 800_000, 1_600_000)
    weight_decays: tuple[float, ...] = (0.1, 1.0)
    lr: float = 1e-2
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 65_536
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        repeated = len(self.unique_tokens) * len(self.epochs)
        if len(self.widths) * (repeated + len(self.fresh)) < 9:
            raise ValueError("Settings: the laws need 9 runs or more of each weight decay; give more epochs")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = DataConfig(task="mixture", sources=(settings.source,))
    plan(settings, data)
    return with_prepared_data(data, lambda prepared: build(settings, prepared))


def build(settings: Settings, data: DataConfig) -> Study:
    """The study on these data."""
    stages = (Stage("runs", lambda runs: plan(settings, data)),)
    summary = "repeated tokens at fixed unique ones: what an epoch is worth, by weight decay"
    return Study("repetition", summary, settings, stages, functools.partial(finish, settings, data))


def plan(settings: Settings, data: DataConfig) -> list[RunConfig]:
    """Every width and weight decay on every amount of text, repeated and fresh."""
    repeated = [
        (unique, unique * n) for unique, n in itertools.product(settings.unique_tokens, settings.epochs)
    ]
    amounts = repeated + [(n_tokens, n_tokens) for n_tokens in settings.fresh]
    return [
        configure(settings, data, width, decay, unique, n_tokens)
        for width in settings.widths
        for decay in settings.weight_decays
        for unique, n_tokens in amounts
    ]


def configure(
    settings: Settings, data: DataConfig, width: int, weight_decay: float, unique: int, n_tokens: int
) -> RunConfig:
    """One run on `n_tokens` tokens, `unique` of them distinct.

    Args:
      settings: of the study.
      data: the corpus.
      width: of the model.
      weight_decay: of the optimizer.
      unique: tokens of the corpus that are read.
      n_tokens: to train on.
    """
    capped = MixtureConfig(unique_tokens=Numbers({settings.source.name: float(unique)}))
    return RunConfig(
        model=ladder(width, data.vocab_size),
        data=dataclasses.replace(data, mixture=capped),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99, weight_decay=weight_decay),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=10 * settings.batch_tokens),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def finish(settings: Settings, data: DataConfig, folder: Path, runs: Runs) -> str:
    """Writes repetition.csv (a row a run) and repetition.json, and says what was found.

    Args:
      settings: of the study; data: its corpus.
      folder: of the study; runs: all of its runs.
    """
    table = measured(settings, data, runs)
    write_atomic(folder / "repetition.csv", table.to_csv(index=False))
    found = {"laws": list(fitted(settings, table)), "repeats": list(cost_of_repeats(table))}
    write_json(folder / "repetition.json", found)
    return "\n".join(in_words(found))


def measured(settings: Settings, data: DataConfig, runs: Runs) -> pd.DataFrame:
    """weight_decay, d_model, part, epochs and the columns of the laws, of every run that is done."""
    done = {run["run_id"]: run for run in runs.table.loc[runs.table.status == "done"].to_dict("records")}
    columns = ("n_params", "n_tokens", "unique_tokens", "flops", "loss")
    return pd.DataFrame(
        {
            "weight_decay": config.optimizer.weight_decay,
            "d_model": config.model.d_model,
            "part": int(config.data.mixture.unique_tokens[settings.source.name]),
            "epochs": done[config.run_id]["n_tokens"] / done[config.run_id]["unique_tokens"],
            **{column: done[config.run_id][column] for column in columns},
        }
        for config in plan(settings, data)
        if config.run_id in done and config.data.mixture
    )


def fitted(settings: Settings, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Both laws for each weight decay: parameters, intervals, the objective, and the median error."""
    for decay, rows in table.groupby("weight_decay"):
        for law in LAWS:
            runs = check(rows.drop(columns=["weight_decay", "part", "epochs"]).reset_index(drop=True), {})
            fit = scaling.fit(runs, law=law, n_bootstrap=settings.n_bootstrap, level=settings.level)
            x = {name: rows[name].to_numpy(float) for name in ("n_params", "n_tokens", "unique_tokens")}
            error = np.median(np.abs(np.asarray(fit.predict(**x).loss) / rows["loss"].to_numpy(float) - 1))
            about = {"weight_decay": decay, "law": law, "objective": fit.objective, "status": fit.status}
            yield about | {"params": fit.params, "ci": fit.ci, "median_error": float(error)}


def cost_of_repeats(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of each width, weight decay and part of the corpus: the loss by epochs, and where it is least."""
    for (decay, width, part), group in itertools.groupby(
        table.to_dict("records"), lambda run: (run["weight_decay"], run["d_model"], run["part"])
    ):
        by_epochs = {round(run["epochs"]): run["loss"] for run in group}
        if len(by_epochs) > 1:
            best = min(by_epochs, key=lambda each: by_epochs[each])
            about = {"weight_decay": decay, "d_model": width, "part": part}
            rise = list(by_epochs.values())[-1] - by_epochs[best]
            yield about | {"loss": by_epochs, "best_epochs": best, "rise": rise}


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """What the study says, a line each."""
    for fit in found["laws"]:
        own = ", ".join(_with_interval(name, fit) for name in LAWS[fit["law"]])
        yield (
            f"weight decay {fit['weight_decay']:g}, {fit['law']}: {own}; median error "
            f"{fit['median_error']:.2%}, objective {fit['objective']:.3g}; {fit['status']}"
        )
    for each in found["repeats"]:
        yield (
            f"  weight decay {each['weight_decay']:g}, {each['d_model']} wide, {each['part']:,} unique "
            f"tokens: lowest after {each['best_epochs']} epochs, {each['rise']:.3f} higher at the end"
        )


def _with_interval(name: str, fit: dict[str, Any]) -> str:
    ends = fit["ci"].get(name)
    return f"{name} {fit['params'][name]:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")
