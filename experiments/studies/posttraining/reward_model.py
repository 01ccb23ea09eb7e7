"""How often reward models err, by their size, the number of their pairs, and the noise of the labels.

1. reward: a reward model of each width on each number of pairs, labelled at each temperature.
Then a law of the error against the true reward, fitted to all widths but the largest and compared with it.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import models
import scaling
from experiments.config import DataConfig, RunConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig
from experiments.posttraining import gold
from experiments.studies.posttraining import figures, recipes
from experiments.studies.study import Stage, Study, with_prepared_data
from scaling.table.runs import Runs, check

LAW = "reward_model"
PAIRS = 64  # of a step


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. `noises` are temperatures of annotators in units of reward. Every model
    passes over its pairs `n_epochs` times, in `least_steps` at least."""

    seed: int = 0
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    widths: tuple[int, ...] = (16, 24, 32, 40)
    n_pairs: tuple[int, ...] = (256, 1024, 4096)
    noises: tuple[float, ...] = (0.0, 0.5)
    n_epochs: int = 4
    least_steps: int = 64

    def __post_init__(self):
        if len(self.widths) < 3 or len(self.n_pairs) < 3 or not self.noises:
            raise ValueError("Settings: a law needs three widths, three n_pairs, and one of noises or more")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    plan(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (Stage("reward", lambda runs: [config for _, config in plan(settings)]),)
    summary = "errors of reward models by size, pairs and noise of labels, and their law"
    return Study("reward_model", summary, settings, stages, functools.partial(finish, settings))


def plan(settings: Settings) -> list[tuple[GoldConfig, RunConfig]]:
    """(world of the pairs, run) of every reward model."""
    worlds = [
        dataclasses.replace(settings.gold, n_examples=n, noise=noise)
        for n in settings.n_pairs
        for noise in settings.noises
    ]
    return [
        (
            world,
            recipes.reward_model(
                *(settings.data, width, world),
                n_steps=max(settings.least_steps, world.n_examples * settings.n_epochs // PAIRS),
                seed=settings.seed,
            ),
        )
        for width in settings.widths
        for world in worlds
    ]


def label_noise(world: GoldConfig) -> float:
    """Share of a world's pairs whose label is not that of the true reward."""
    pairs = gold.pairs(world, "train")
    reward = jax.jit(gold.gold_reward, static_argnums=0)
    chosen, rejected = (
        np.asarray(reward(world, pairs[side], pairs["prompt_lengths"], pairs[f"{side}_lengths"]))
        for side in ("chosen", "rejected")
    )
    return float(np.mean((chosen < rejected)[chosen != rejected]))


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Fits the law; writes reward_model.csv, .json and .png, and says how well it predicted the largest."""
    accuracy = dict(zip(runs.table["run_id"], runs.table["gold_accuracy"]))
    noise = {world: label_noise(world) for world, _ in plan(settings)}
    rows: list[dict[str, Any]] = [
        {
            "d_model": config.model.d_model,
            "n_params": models.count(config.model).n_params,
            "n_pairs": world.n_examples,
            "noise": world.noise,
            "label_noise": noise[world],
            "error": 1 - float(accuracy[config.run_id]),
        }
        for world, config in plan(settings)
    ]
    table = pd.DataFrame(rows)
    smaller = table["d_model"] != settings.widths[-1]
    fit = fit_law(pd.DataFrame(table[smaller]))
    columns = {name: table[name].to_numpy(float) for name in ("n_params", "n_pairs", "label_noise")}
    table = table.assign(predicted=fit.predict(**columns).loss)
    largest = pd.DataFrame(table[~smaller])
    said, came = (largest[name].to_numpy(float) for name in ("predicted", "error"))
    result = {"params": fit.params, "rms_error": float(np.sqrt(np.mean((said - came) ** 2)))}
    write_atomic(folder / "reward_model.csv", table.to_csv(index=False))
    write_json(folder / "reward_model.json", result)
    write_json(folder / "fit.json", fit.to_json())
    write_atomic(folder / "reward_model.png", figures.reward_model(table))
    law = ", ".join(f"{name} {value:.3g}" for name, value in fit.params.items())
    return (
        f"error = E + A / N^alpha + B / (n_pairs (1 - 2 label_noise)^2)^beta: {law}\n"
        f"of the largest width, to which it was not fitted: {result['rms_error']:.3f} off (RMS), errors from "
        f"{came.min():.3f} to {came.max():.3f}"
    )


def fit_law(table: pd.DataFrame) -> scaling.Fit:
    """The law of reward models, of errors by size, pairs and noise."""
    names = ["n_params", "n_pairs", "label_noise", "error"]
    rows = pd.DataFrame(table[names], dtype=float).reset_index(drop=True)
    return scaling.fit(check(rows, {}, needed=tuple(names)), law=LAW, n_bootstrap=0)
