"""Reward over the compute of reinforcement learning: the end of a curve predicted from its beginning.

1. pretrain, 2. fine-tune: the policy that all begin as.
3. optimise: GRPO, Dr. GRPO and RLOO against the true reward, from the same start for the same steps, for
   several seeds.
Of each, the law R0 + (A - R0) / (1 + (C_mid / C)^B) is fitted to the part of the curves before `known` of the
compute, its earliest tenth left out, and compared with the rest, and its ceiling A with that of a fit to all
of it. A is only told by a curve that bends: where its interval is wider than what was gained, it counts as
unknown.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig, GRPOConfig
from experiments.posttraining.gold import MAX_NEW
from experiments.studies.posttraining import figures, laws, measures, recipes
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from scaling.laws.downstream.rl_compute import is_early
from scaling.report import Picture
from scaling.table.runs import Runs

ADVANTAGES = ("grpo", "dr_grpo", "rloo")
LAW = "rl_compute"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change; `known` is the share of the compute that the law is fitted to."""

    seed: int = 0
    n_seeds: int = 2
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    width: int = 24
    pretrain_steps: int = 200
    sft_steps: int = 200
    advantages: tuple[str, ...] = ADVANTAGES
    n_steps: int = 384
    lr: float = 3e-3
    known: float = 0.5
    n_prompts: int = 512
    n_samples: int = 8
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if not self.advantages or not set(self.advantages) <= {*ADVANTAGES}:
            raise ValueError(
                f"Settings.advantages={list(self.advantages)}; there are {', '.join(ADVANTAGES)}"
            )
        if not 0 < self.known < 1:
            raise ValueError(f"Settings.known={self.known}; it must be between 0 and 1")
        if self.n_seeds < 1:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; it must be at least 1")


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
    """The runs of every recipe, one a seed."""
    return [config for name in settings.advantages for config in of_recipe(settings, name)]


def of_recipe(settings: Settings, name: Any) -> list[RunConfig]:
    """The runs of one recipe, one a seed."""
    objective = GRPOConfig(advantage=name, max_new=MAX_NEW, group_size=4, beta=0.0)
    return [
        recipes.from_policy(
            *(policy(settings), objective, settings.gold),
            n_steps=settings.n_steps,
            lr=settings.lr,
            seed=settings.seed + k,
            rows=128,
        )
        for k in range(settings.n_seeds)
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Fits the law to the beginning of each curve; writes rl_compute.csv, .json and .png."""
    tables, result = [], {}
    samples = measures.sample_policy(
        folder / "runs" / policy(settings).run_id, settings.gold, settings.n_prompts, settings.n_samples
    )
    start = float(samples.gold.mean())
    for name in settings.advantages:
        curves = [
            measures.reward_curve(folder / "runs" / config.run_id).assign(seed=config.seed)
            for config in of_recipe(settings, name)
        ]
        curve = pd.concat(curves, ignore_index=True).rename(columns={"gold": "reward"})
        curve = curve.assign(start_reward=start, recipe=name)
        known = curve["flops"] <= settings.known * curve["flops"].max()
        fit, whole = (fit_law(pd.DataFrame(curve[rows]), settings) for rows in (known, known | True))
        curve = laws.with_predictions(curve, fit).assign(known=known)
        result[name] = compare(curve, fit, whole)
        tables.append(curve)
    table = pd.concat(tables, ignore_index=True)
    write_atomic(folder / "rl_compute.csv", table.to_csv(index=False))
    write_json(folder / "rl_compute.json", result)
    picture = Picture(
        "rl_compute",
        "True reward by compute",
        "Points: means over a step's rollouts, a shape a seed. Line: the law, solid where it was fitted and "
        "dashed beyond, with the interval of a measured point.",
        figures.rl_compute(table),
    )
    write_findings(folder, [picture])
    return conclusion(result, settings)


def fit_law(curve: pd.DataFrame, settings: Settings) -> scaling.Fit:
    """The law of one recipe's points, the early part left out."""
    late = pd.DataFrame(curve[~is_early(curve["flops"].to_numpy())])
    return laws.fit_law(late, LAW, settings.n_bootstrap, settings.level)


def compare(curve: pd.DataFrame, fit: scaling.Fit, whole: scaling.Fit) -> dict[str, Any]:
    """What the beginning said of the rest, and of the ceiling.

    Args:
      curve: flops, start_reward, reward, known, predicted, lo, hi.
      fit: of the part that is known.
      whole: of all of it.
    """
    rest: Any = curve[~curve["known"]]
    came, said, lo, hi = (rest[name].to_numpy(float) for name in ("reward", "predicted", "lo", "hi"))
    start = float(curve["start_reward"].iloc[0])
    return {
        "params": laws.parameters(fit),
        "ceiling_known": tells_ceiling(fit, start),
        "params_of_all": laws.parameters(whole),
        "ceiling_known_of_all": tells_ceiling(whole, start),
        "start_reward": start,
        "at_flops": float(curve["flops"].to_numpy(float).max()),
        "predicted": float(said.mean()),
        "measured": float(came.mean()),
        "rms_error": laws.rms(said - came),
        "inside": float(np.mean((lo <= came) & (came <= hi))),
    }


def tells_ceiling(fit: scaling.Fit, start: float) -> bool:
    """Whether the interval of A is narrower than what is gained from the start to A."""
    low, high = fit.ci.get("A", (-np.inf, np.inf))
    return bool(high - low < fit.params["A"] - start)


def conclusion(result: dict[str, Any], settings: Settings) -> str:
    """For each recipe its ceiling, if it is known, and how well its beginning predicted the rest."""
    lines = [f"true reward, by the law of the first {settings.known:.0%} of the compute:"]
    for name, found in result.items():
        B = found["params"]["B"]["value"]
        lines.append(
            f"  {name:<8} from {found['start_reward']:.2f}, B = {B:.2f}; the rest predicted "
            f"{found['predicted']:.3f}, measured {found['measured']:.3f} ({found['rms_error']:.3f} RMS, "
            f"{found['inside']:.0%} inside the {settings.level:.0%} interval)"
        )
        lines.append(
            f"  {'':<8} ceiling {ceiling(found['params'], found['ceiling_known'])}; by all of the compute "
            f"{ceiling(found['params_of_all'], found['ceiling_known_of_all'])}"
        )
    return "\n".join(lines)


def ceiling(params: dict[str, Any], known: bool) -> str:
    """A with its interval, or that it is not known."""
    (low, high), value = params["A"]["interval"] or (np.nan, np.nan), params["A"]["value"]
    return f"A = {value:.2f} [{low:.2f}, {high:.2f}]" + ("" if known else ", so it is not known")
