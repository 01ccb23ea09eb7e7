"""Reward over the compute of reinforcement learning: the end of a curve predicted from its beginning.

1. pretrain, 2. fine-tune: the policy that all begin as.
3. optimise: GRPO, Dr. GRPO and RLOO against the true reward, from the same start for the same steps.
Of each, the law R0 + (A - R0) / (1 + (C_mid / C)^B) is fitted to the part of the curve before `known` of the
compute, its earliest tenth left out, and compared with the rest: the ceiling A and the efficiency that the
recipes differ in.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import DataConfig, RunConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig, GRPOConfig
from experiments.posttraining.gold import MAX_NEW
from experiments.studies.posttraining import figures, measures, recipes
from experiments.studies.study import Stage, Study, with_prepared_data
from scaling.laws.downstream.rl_compute import is_early
from scaling.table.runs import Runs, check

ADVANTAGES = ("grpo", "dr_grpo", "rloo")
NEAR = 1e-3  # nats: a policy so near its start is its start


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change; `known` is the share of the compute that the law is fitted to."""

    seed: int = 0
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    width: int = 32
    pretrain_steps: int = 300
    sft_steps: int = 200
    advantages: tuple[str, ...] = ADVANTAGES
    n_steps: int = 256
    lr: float = 1e-3
    known: float = 0.4

    def __post_init__(self):
        if not self.advantages or not set(self.advantages) <= {*ADVANTAGES}:
            raise ValueError(
                f"Settings.advantages={list(self.advantages)}; there are {', '.join(ADVANTAGES)}"
            )
        if not 0 < self.known < 1:
            raise ValueError(f"Settings.known={self.known}; it must be between 0 and 1")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    optimise(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("pretrain", lambda runs: [pretrained(settings)]),
        Stage("fine-tune", lambda runs: [policy(settings)]),
        Stage("optimise", lambda runs: optimise(settings)),
    )
    summary = "reward over the compute of GRPO, Dr. GRPO and RLOO: the end of each curve predicted"
    return Study("rl_compute", summary, settings, stages, functools.partial(finish, settings))


def pretrained(settings: Settings) -> RunConfig:
    """The network that has read text."""
    return recipes.pretrain(settings.data, settings.width, settings.pretrain_steps, seed=settings.seed)


def policy(settings: Settings) -> RunConfig:
    """The fine-tuned policy."""
    return recipes.fine_tune(pretrained(settings), settings.gold, settings.sft_steps, seed=settings.seed)


def optimise(settings: Settings) -> list[RunConfig]:
    """A run of each recipe."""
    objectives: list[Any] = [
        GRPOConfig(advantage=name, max_new=MAX_NEW, group_size=4, beta=0.0)  # type: ignore[arg-type]
        for name in settings.advantages
    ]
    return [
        recipes.from_policy(
            *(policy(settings), objective, settings.gold),
            n_steps=settings.n_steps,
            lr=settings.lr,
            seed=settings.seed,
            rows=128,
        )
        for objective in objectives
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Fits the law to the beginning of each curve; writes rl_compute.csv, .json and .png."""
    tables, result = [], {}
    for name, config in zip(settings.advantages, optimise(settings)):
        curve = measures.reward_curve(folder / "runs" / config.run_id)
        start = float(np.mean(curve.loc[curve["kl"] < NEAR, "gold"].to_numpy(float)))
        curve = curve.rename(columns={"gold": "reward"}).assign(start_reward=start, recipe=name)
        known = curve["flops"] <= settings.known * curve["flops"].max()
        fit = fit_law(pd.DataFrame(curve[known]))
        predicted = fit.predict(flops=curve["flops"].to_numpy(), start_reward=np.full(len(curve), start))
        curve = curve.assign(predicted=predicted.loss, known=known)
        said, came = (curve.loc[~known, column].to_numpy(float) for column in ("predicted", "reward"))
        result[name] = {
            **fit.params,
            "start_reward": start,
            "at_flops": float(np.max(curve["flops"].to_numpy(float))),
            "predicted": float(said.mean()),
            "measured": float(came.mean()),
            "rms_error": float(np.sqrt(np.mean((said - came) ** 2))),
        }
        tables.append(curve)
    table = pd.concat(tables, ignore_index=True)
    write_atomic(folder / "rl_compute.csv", table.to_csv(index=False))
    write_json(folder / "rl_compute.json", result)
    write_atomic(folder / "rl_compute.png", figures.rl_compute(table))
    return last_words(result, settings)


def fit_law(curve: pd.DataFrame) -> scaling.Fit:
    """The law of one curve, its early part left out."""
    names = ["flops", "start_reward", "reward"]
    late = curve[~is_early(curve["flops"].to_numpy())]
    rows = pd.DataFrame(late[names], dtype=float).reset_index(drop=True)
    return scaling.fit(check(rows, {}, needed=tuple(names)), law="rl_compute", n_bootstrap=0)


def last_words(result: dict[str, Any], settings: Settings) -> str:
    """For each recipe its ceiling and middle, and how well its beginning predicted the rest."""
    lines = [f"true reward, by the law of the first {settings.known:.0%} of the compute:"]
    for name, found in result.items():
        lines.append(
            f"  {name:<8} from {found['start_reward']:.2f} to A = {found['A']:.2f}, B = {found['B']:.2f}, "
            f"C_mid = {found['C_mid']:.2e}; the rest predicted {found['predicted']:.3f}, measured "
            f"{found['measured']:.3f} ({found['rms_error']:.3f} RMS)"
        )
    return "\n".join(lines)
