"""How often reward models err, by their size, the number of their pairs, and the noise of the labels.

1. reward: a reward model of each width but the largest on each number of pairs, labelled at each temperature;
   for several seeds, each with pairs of its own.
2. verify: the largest width. Before it trains, a law of the error, fitted to the others, says how often it
   will err.

Errors are of thousands of fresh pairs, against the true reward.
"""

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import models
import scaling
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig
from experiments.posttraining import gold
from experiments.studies.posttraining import figures, laws, measures, recipes
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from scaling.report import Picture
from scaling.table.runs import Runs

LAW = "reward_model"
SAME = ["n_pairs", "noise", "seed"]  # what reward models of two widths are compared in


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. `noises` are temperatures of annotators in units of reward; the last of
    `widths` is predicted. Every model passes over its pairs `n_epochs` times, in `least_steps` at least, and
    is asked about `n_fresh` others. Each of `n_seeds` has pairs and initial parameters of its own."""

    seed: int = 0
    n_seeds: int = 2
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    widths: tuple[int, ...] = (16, 24, 32, 48)
    n_pairs: tuple[int, ...] = (256, 1024, 4096)
    noises: tuple[float, ...] = (0.0, 0.5)
    n_epochs: int = 4
    least_steps: int = 64
    n_fresh: int = 4096
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.widths) < 3 or len(self.n_pairs) < 3 or not self.noises or self.n_seeds < 1:
            raise ValueError(
                "Settings: a law needs three widths, three n_pairs, and one of noises and n_seeds or more"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    plan(settings, settings.widths)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    *smaller, largest = settings.widths
    stages = (
        Stage("reward", lambda runs: [config for _, config in plan(settings, smaller)]),
        Stage(
            "verify",
            lambda runs: [config for _, config in plan(settings, [largest])],
            before=lambda folder, runs, configs: predict(settings, folder),
        ),
    )
    summary = "errors of reward models by size, pairs and noise of labels; those of a larger one predicted"
    return Study("reward_model", summary, settings, stages, functools.partial(finish, settings))


def plan(settings: Settings, widths: Iterable[int]) -> list[tuple[GoldConfig, RunConfig]]:
    """(world of the pairs, run) of every reward model of these widths."""
    return [
        (
            world := dataclasses.replace(
                settings.gold, n_examples=n, noise=noise, seed=settings.gold.seed + k
            ),
            recipes.reward_model(
                *(settings.data, width, world),
                n_steps=max(settings.least_steps, n * settings.n_epochs // recipes.PAIRS),
                seed=settings.seed + k,
            ),
        )
        for width in widths
        for n in settings.n_pairs
        for noise in settings.noises
        for k in range(settings.n_seeds)
    ]


@functools.lru_cache
def label_noise(world: GoldConfig) -> float:
    """Share of a world's pairs whose label is not that of the true reward."""
    pairs = gold.pairs(world, "train")
    reward = jax.jit(gold.gold_reward, static_argnums=0)
    chosen, rejected = (
        np.asarray(reward(world, pairs[side], pairs["prompt_lengths"], pairs[f"{side}_lengths"]))
        for side in ("chosen", "rejected")
    )
    return float(np.mean((chosen < rejected)[chosen != rejected]))


def measured(settings: Settings, folder: Path, widths: Iterable[int]) -> pd.DataFrame:
    """A row a reward model of these widths: what it learnt from, and its error."""
    rows: list[dict[str, Any]] = [
        {
            "run_id": config.run_id,
            "d_model": config.model.d_model,
            "n_params": models.count(config.model).n_params,
            "n_pairs": world.n_examples,
            "noise": world.noise,
            "seed": config.seed,
            "label_noise": label_noise(world),
            "error": measures.ranking_error(folder / "runs" / config.run_id, world, settings.n_fresh),
        }
        for world, config in plan(settings, widths)
    ]
    return pd.DataFrame(rows)


def predict(settings: Settings, folder: Path) -> None:
    """Fits the law to the smaller widths, and writes down what it says of the largest."""
    smaller = measured(settings, folder, settings.widths[:-1])
    fit = laws.fit_law(smaller, LAW, settings.n_bootstrap, settings.level)
    # Its labels are those of the next smaller one.
    size = models.count(plan(settings, settings.widths[-1:])[0][1].model).n_params
    next_smaller = pd.DataFrame(smaller[smaller["d_model"] == settings.widths[-2]])
    said = laws.with_predictions(next_smaller.assign(n_params=float(size)), fit)
    write_atomic(folder / "smaller.csv", smaller.to_csv(index=False))
    write_json(folder / "fit.json", fit.to_json())
    columns = ["n_params", *SAME, "predicted", "lo", "hi"]
    write_json(
        folder / "prediction.json",
        {"level": settings.level, "rows": pd.DataFrame(said[columns]).to_dict("records")},
    )


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Compares the largest width with what was said of it; writes reward_model.csv, .json and .png."""
    smaller = pd.read_csv(folder / "smaller.csv")
    largest = measured(settings, folder, settings.widths[-1:])
    fit = laws.read_fit(folder / "fit.json")
    table = laws.with_predictions(pd.concat([smaller, largest], ignore_index=True), fit)
    result = {"params": laws.parameters(fit), **laws.compare(table, "n_params", "error", SAME)}
    write_atomic(folder / "reward_model.csv", table.to_csv(index=False))
    write_json(folder / "reward_model.json", result)
    picture = Picture(
        "reward_model",
        "Fresh pairs that are ranked wrongly, by pairs learnt from",
        "Points: measured against the true reward, each seed. Dashed: the law, fitted to all sizes but the "
        "largest; band: its interval for the largest. A panel a noise of the labels.",
        figures.reward_model(table),
    )
    write_findings(folder, [picture], {"reward_model.csv": "Each size, number of pairs, noise and seed"})
    return conclusion(table, fit, result)


def conclusion(table: pd.DataFrame, fit: scaling.Fit, result: dict[str, Any]) -> str:
    """The law, what it said of the largest width, and what the size does where pairs are many."""
    most = table[table["n_pairs"] == table["n_pairs"].max()]
    lines = [
        f"error = E + A / N^alpha + B / (n_pairs (1 - 2 label_noise)^2)^beta: {laws.in_words(fit)}",
        f"of the largest width, predicted before it trained: {result['rms_error']:.3f} off (RMS; "
        f"{result['rms_unchanged']:.3f} if it erred as often as the next smaller), {result['inside']:.0%} "
        f"inside the {fit.level:.0%} interval",
    ]
    for noise, rows in most.groupby("noise"):
        errors: Any = rows.groupby("n_params")["error"].mean()
        words = ", ".join(f"N {n:,} {error:.3f}" for n, error in errors.items())
        lines.append(f"  {most['n_pairs'].max():,} pairs at temperature {noise:g}: {words}")
    if fit.ci and fit.ci["alpha"][0] < 0.05:
        lines.append("  alpha may be next to 0: these runs do not tell how errors fall with size")
    return "\n".join(lines)
