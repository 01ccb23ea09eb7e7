"""Reward over-optimisation: reward models of several sizes, and what comes of maximising them.

1. pretrain, 2. fine-tune: the policy that all others begin as.
3. reward: reward models of several sizes, on the same pairs with noisy labels.
4. optimise: PPO against each of them but the largest; DPO on the same pairs, for several β.
5. verify: PPO against the largest. Before it runs, laws of best-of-n and of PPO, fitted to the smaller ones,
   say what reward and which peak it will have; afterwards both are compared with what was measured.

All true rewards are those of the gold world, over its validation prompts for best-of-n and DPO and over the
prompts of each step for PPO; less those of the fine-tuned policy.
"""

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import models
import scaling
from experiments.config import DataConfig, RunConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import DPOConfig, GoldConfig, PPOConfig
from experiments.posttraining.gold import MAX_NEW
from experiments.studies.posttraining import figures, measures, recipes
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from scaling.laws import find
from scaling.laws.downstream.over_optimisation import coefficients, peak_of_best_of_n, peak_of_rl
from scaling.table.runs import Runs, check

LAWS = {"best of n": "over_optimisation_bon:reward_params", "PPO": "over_optimisation_rl:reward_params"}
FITS = {"best of n": "best_of_n_fit.json", "PPO": "ppo_fit.json"}
PEAKS = {"best of n": peak_of_best_of_n, "PPO": peak_of_rl}
DPO = "over_optimisation_rl"
CLOSE = 0.05  # nats: a policy so near its start has the start's reward


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. `reward_widths` are of the reward models; the last one is predicted."""

    seed: int = 0
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    width: int = 24
    pretrain_steps: int = 150
    sft_steps: int = 300
    reward_widths: tuple[int, ...] = (16, 24, 32, 48)
    n_pairs: int = 2048
    reward_steps: int = 128
    ppo_steps: int = 80
    ppo_lr: float = 1e-3
    betas: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    dpo_steps: int = 48
    dpo_lr: float = 1e-3
    n_prompts: int = 96
    n_samples: int = 64
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.reward_widths) < 3:
            raise ValueError(
                f"Settings.reward_widths={list(self.reward_widths)}; give three or more: a law is fitted to "
                "all but the last"
            )
        if len(self.betas) < 3:
            raise ValueError(
                f"Settings.betas={list(self.betas)}; give three or more: a law is fitted to them"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    for plan in (reward_models, optimise, verify):
        plan(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("pretrain", lambda runs: [pretrained(settings)]),
        Stage("fine-tune", lambda runs: [policy(settings)]),
        Stage("reward", lambda runs: reward_models(settings)),
        Stage("optimise", lambda runs: optimise(settings)),
        Stage(
            "verify",
            lambda runs: verify(settings),
            before=lambda folder, runs, configs: predict(settings, folder),
        ),
    )
    summary = (
        "reward models of several sizes over-optimised by best-of-n, PPO and DPO; a larger one predicted"
    )
    return Study("over_optimisation", summary, settings, stages, functools.partial(finish, settings))


def pretrained(settings: Settings) -> RunConfig:
    """The network that has read text."""
    return recipes.pretrain(settings.data, settings.width, settings.pretrain_steps, seed=settings.seed)


def policy(settings: Settings) -> RunConfig:
    """The fine-tuned policy."""
    return recipes.fine_tune(pretrained(settings), settings.gold, settings.sft_steps, seed=settings.seed)


def reward_models(settings: Settings) -> list[RunConfig]:
    """A reward model of each width."""
    return [
        recipes.reward_model(
            settings.data, width, pairs_of(settings), settings.reward_steps, seed=settings.seed
        )
        for width in settings.reward_widths
    ]


def pairs_of(settings: Settings) -> GoldConfig:
    """The world with as many pairs as reward models and DPO learn from."""
    return dataclasses.replace(settings.gold, n_examples=settings.n_pairs)


def optimise(settings: Settings) -> list[RunConfig]:
    """PPO against all reward models but the last, and DPO."""
    dpo = [
        recipes.from_policy(
            *(policy(settings), DPOConfig(beta=beta), pairs_of(settings)),
            n_steps=settings.dpo_steps,
            lr=settings.dpo_lr,
            seed=settings.seed,
        )
        for beta in settings.betas
    ]
    return [ppo(settings, k) for k in range(len(settings.reward_widths) - 1)] + dpo


def verify(settings: Settings) -> list[RunConfig]:
    """PPO against the last reward model."""
    return [ppo(settings, len(settings.reward_widths) - 1)]


def ppo(settings: Settings, k: int) -> RunConfig:
    """PPO against reward model k, without a KL term: the policy goes as far as the steps take it.

    Each has rollouts of its own, so that what all measure of the start does not err alike.
    """
    source = reward_models(settings)[k].run_id
    objective = PPOConfig(reward=source, max_new=MAX_NEW, epochs=2, minibatches=2, beta=0.0, gae_lambda=1.0)
    return recipes.from_policy(
        *(policy(settings), objective, settings.gold),
        n_steps=settings.ppo_steps,
        lr=settings.ppo_lr,
        seed=settings.seed + k,
        rows=64,
    )


def predict(settings: Settings, folder: Path) -> None:
    """Measures the smaller reward models, fits their laws, and writes down what they say of the largest."""
    table = curves(settings, folder, range(len(settings.reward_widths) - 1))
    size = reward_params(settings, len(settings.reward_widths) - 1)
    said: dict[str, Any] = {"reward_params": size, "level": settings.level}
    for way, law in LAWS.items():
        rows = pd.DataFrame(table[table["way"] == way])
        fit = fit_law(rows, law, settings)
        alpha, beta = coefficients(fit.params, reward_params=size)
        d, reward = PEAKS[way](alpha, beta)
        kl = np.linspace(0.0, np.sqrt(rows["kl"].max()), 33) ** 2
        curve = fit.predict(kl=kl, reward_params=np.full(len(kl), float(size)))
        said[way] = {
            "peak_d": number(d),
            "peak_reward": number(reward),
            "curve": {
                "kl": kl.tolist(),
                **{name: getattr(curve, name).tolist() for name in ("loss", "lo", "hi")},
            },
        }
        write_json(folder / FITS[way], fit.to_json())
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    write_json(folder / "prediction.json", said)


def curves(settings: Settings, folder: Path, which: range) -> pd.DataFrame:
    """What maximising each of these reward models does: way, reward_params, kl, proxy, gold, reward."""
    runs = folder / "runs"
    samples = measures.sample_policy(
        runs / policy(settings).run_id, settings.gold, settings.n_prompts, settings.n_samples, settings.seed
    )
    best, along = [], []
    for k in which:
        proxy = measures.proxy_rewards(runs / reward_models(settings)[k].run_id, samples)
        about = {"reward_params": reward_params(settings, k)}
        best.append(measures.best_of_n_curve(proxy, samples.gold).assign(**about, way="best of n"))
        along.append(measures.reward_curve(runs / ppo(settings, k).run_id).assign(**about, way="PPO"))
    curve = pd.concat(along, ignore_index=True)
    start = curve.loc[curve["kl"] < CLOSE, "gold"].mean()  # where policies had not gone anywhere yet
    return pd.concat([*best, curve.assign(reward=curve["gold"] - start)], ignore_index=True)


def fit_law(rows: pd.DataFrame, law: str, settings: Settings) -> scaling.Fit:
    """An over-optimisation law of measured points."""
    names = [*find(law).columns, "reward"]
    runs = check(pd.DataFrame(rows[names], dtype=float).reset_index(drop=True), {}, needed=tuple(names))
    return scaling.fit(runs, law=law, n_bootstrap=settings.n_bootstrap, level=settings.level)


def reward_params(settings: Settings, k: int) -> int:
    """Size of reward model k."""
    return models.count(reward_models(settings)[k].model).n_params


def dpo_curve(settings: Settings, folder: Path) -> pd.DataFrame:
    """Where DPO of each β ended: beta, kl, gold, reward."""
    start, rows = folder / "runs" / policy(settings).run_id, []
    about = settings.gold, settings.n_prompts, 8, settings.seed + 1
    before = measures.sample_policy(start, *about).gold.mean()
    for config in optimise(settings)[len(settings.reward_widths) - 1 :]:
        run = folder / "runs" / config.run_id
        samples = measures.sample_policy(run, *about)
        kl = max(measures.divergence(run, start, samples), 0.0)
        assert isinstance(config.objective, DPOConfig)
        rows.append({"beta": config.objective.beta, "kl": kl, "gold": samples.gold.mean()})
    return pd.DataFrame(rows).assign(reward=lambda table: table["gold"] - before, way="DPO")


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Compares what the laws said of the largest reward model with what it came to; writes
    over_optimisation.csv, .json and .png."""
    last = len(settings.reward_widths) - 1
    larger = curves(settings, folder, range(last, last + 1))
    smaller = pd.read_csv(folder / "smaller.csv")
    dpo = dpo_curve(settings, folder)
    said = json.loads((folder / "prediction.json").read_text())
    accuracy = dict(zip(runs.table["run_id"], runs.table["gold_accuracy"]))
    result: dict[str, Any] = {
        "accuracy": {
            str(reward_params(settings, k)): float(accuracy[config.run_id])
            for k, config in enumerate(reward_models(settings))
        }
    }
    for way in LAWS:
        fit = scaling.Fit.from_json(json.loads((folder / FITS[way]).read_text()))
        result[way] = compare(said[way], fit, pd.DataFrame(larger[larger["way"] == way]))
    fitted = fit_law(dpo, DPO, settings)
    d, reward = peak_of_rl(fitted.params["alpha"], fitted.params["beta"])
    result["DPO"] = {**fitted.params, "peak_d": number(d), "peak_reward": number(reward)}
    table = pd.concat([smaller, larger, dpo], ignore_index=True)
    write_atomic(folder / "over_optimisation.csv", table.to_csv(index=False))
    write_json(folder / "over_optimisation.json", result)
    write_atomic(folder / "over_optimisation.png", figures.over_optimisation(table, said, list(LAWS)))
    return last_words(result, said)


def compare(said: dict[str, Any], fit: scaling.Fit, measured: pd.DataFrame) -> dict[str, Any]:
    """What was predicted and measured: peaks, error of the curve, share of points in the interval."""
    kl, reward = measured["kl"].to_numpy(float), measured["reward"].to_numpy(float)
    predicted = fit.predict(kl=kl, reward_params=measured["reward_params"].to_numpy(float))
    own = fit_of_one(measured)
    d, height = PEAKS[str(measured["way"].iloc[0])](*own)
    inside = (predicted.lo <= reward) & (reward <= predicted.hi)
    return {
        "predicted": {"peak_d": said["peak_d"], "peak_reward": said["peak_reward"]},
        "measured": {"peak_d": number(d), "peak_reward": number(height), "highest": float(reward.max())},
        "rms_error": float(np.sqrt(np.mean((predicted.loss - reward) ** 2))),
        "range": float(reward.max() - reward.min()),
        "inside": float(inside.mean()),
    }


def fit_of_one(measured: pd.DataFrame) -> tuple[float, float]:
    """(alpha, beta) of one reward model's own curve, by least squares."""
    d = np.sqrt(measured["kl"].to_numpy(float))
    rl = measured["way"].iloc[0] == "PPO"
    penalty = np.log(np.where(d > 0, d, 1.0)) if rl else d
    (alpha, beta), *_ = np.linalg.lstsq(
        np.stack([d, -d * penalty], axis=1), measured["reward"].to_numpy(float), rcond=None
    )
    return float(alpha), float(beta)


def number(value: Any) -> float | None:
    """A float, None for one that is not finite: JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def last_words(result: dict[str, Any], said: dict[str, Any]) -> str:
    """The lines that matter: peaks predicted and measured."""
    shares = ", ".join(f"{float(n):,.0f}: {share:.3f}" for n, share in result["accuracy"].items())
    lines = [
        f"reward models rank pairs as the true reward does, by parameters: {shares}",
        f"of the one with {said['reward_params']:,} parameters, before it was optimised and after:",
    ]
    for way in LAWS:
        found = result[way]
        lines.append(
            f"  {way}: peak predicted {peak(found['predicted'])}, measured {peak(found['measured'])}; "
            f"the curve is {found['rms_error']:.3f} off (RMS) over a range of {found['range']:.2f}, "
            f"{found['inside']:.0%} of its points inside the {said['level']:.0%} interval"
        )
    return "\n".join([*lines, f"  DPO over β: peak {peak(result['DPO'])}"])


def peak(found: dict[str, Any]) -> str:
    """Where a curve peaks and how high, in words."""
    if found["peak_d"] is None:
        return "none"
    return f"+{found['peak_reward']:.3f} at √KL = {found['peak_d']:.2f}"
