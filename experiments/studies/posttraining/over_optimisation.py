"""Reward over-optimisation: reward models of several sizes, and what comes of maximising them.

1. pretrain, 2. fine-tune: the policy that all others begin as.
3. reward: reward models of several sizes, on few and on many pairs with noisy labels.
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
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import DPOConfig, GoldConfig, PPOConfig
from experiments.posttraining.gold import MAX_NEW
from experiments.studies.posttraining import figures, laws, measures, recipes
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from scaling.laws.downstream.over_optimisation import coefficients, peak_of_best_of_n, peak_of_rl
from scaling.report import Picture
from scaling.table.runs import Runs

LAWS = {
    "best of n": "over_optimisation_bon:reward_params,n_pairs",
    "PPO": "over_optimisation_rl:reward_params,n_pairs",
}
FITS = {"best of n": "best_of_n_fit.json", "PPO": "ppo_fit.json"}
PEAKS = {"best of n": peak_of_best_of_n, "PPO": peak_of_rl}
COLUMNS = ("kl", "reward_params", "n_pairs")  # of both
DPO = "over_optimisation_rl"
CLOSE = 0.05  # nats: a policy so near its start has the start's reward
FAR = 10.0  # nats: beyond, policies of these sizes fall apart; recorded, but not fitted


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. There is a reward model of each of `reward_widths` for each number of
    pairs, which it passes over `reward_epochs` times; those of the last width are predicted."""

    seed: int = 0
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    width: int = 24
    pretrain_steps: int = 150
    sft_steps: int = 300
    reward_widths: tuple[int, ...] = (8, 16, 32, 48)
    n_pairs: tuple[int, ...] = (256, 1024, 4096)
    reward_epochs: int = 4
    least_steps: int = 64
    ppo_steps: int = 64
    ppo_lr: float = 1.5e-4
    betas: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    dpo_steps: int = 64
    dpo_lr: float = 1e-3
    n_prompts: int = 128
    n_samples: int = 256
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.reward_widths) < 3:
            raise ValueError(
                f"Settings.reward_widths={list(self.reward_widths)}; give three or more: a law is fitted to "
                "all but the last"
            )
        if len(self.n_pairs) < 2:
            raise ValueError(f"Settings.n_pairs={list(self.n_pairs)}; give two or more: a law is of them too")
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


def pairs_of(settings: Settings, n_pairs: int) -> GoldConfig:
    """The world with as many pairs as a reward model or DPO learns from."""
    return dataclasses.replace(settings.gold, n_examples=n_pairs)


def reward_model(settings: Settings, width: int, n_pairs: int) -> RunConfig:
    """The reward model of this width on so many pairs."""
    n_steps = max(settings.least_steps, settings.reward_epochs * n_pairs // recipes.PAIRS)
    return recipes.reward_model(
        settings.data, width, pairs_of(settings, n_pairs), n_steps, seed=settings.seed
    )


def reward_models(settings: Settings) -> list[RunConfig]:
    """All of them, from small to large."""
    return [reward_model(settings, *each) for each in grid(settings, settings.reward_widths)]


def grid(settings: Settings, widths: tuple[int, ...]) -> list[tuple[int, int]]:
    """(width, number of pairs) of reward models of these widths."""
    return [(width, n) for width in widths for n in settings.n_pairs]


def optimise(settings: Settings) -> list[RunConfig]:
    """PPO against all reward models but the largest, and DPO."""
    smaller = [ppo(settings, *each) for each in grid(settings, settings.reward_widths[:-1])]
    return smaller + [config for _, _, config in dpo(settings)]


def verify(settings: Settings) -> list[RunConfig]:
    """PPO against the reward models of the last width."""
    return [ppo(settings, *each) for each in grid(settings, settings.reward_widths[-1:])]


def dpo(settings: Settings) -> list[tuple[int, float, RunConfig]]:
    """(number of pairs, β, run) of DPO."""
    return [
        (
            n,
            beta,
            recipes.from_policy(
                *(policy(settings), DPOConfig(beta=beta), pairs_of(settings, n)),
                n_steps=settings.dpo_steps,
                lr=settings.dpo_lr,
                seed=settings.seed,
            ),
        )
        for n in settings.n_pairs
        for beta in settings.betas
    ]


def ppo(settings: Settings, width: int, n_pairs: int) -> RunConfig:
    """PPO against a reward model, without a KL term: the policy goes as far as the steps take it.

    Each has rollouts of its own, so that what all measure of the start does not err alike.
    """
    source = reward_model(settings, width, n_pairs).run_id
    objective = PPOConfig(reward=source, max_new=MAX_NEW, epochs=1, minibatches=4, beta=0.0, gae_lambda=1.0)
    return recipes.from_policy(
        *(policy(settings), objective, settings.gold),
        n_steps=settings.ppo_steps,
        lr=settings.ppo_lr,
        seed=settings.seed + grid(settings, settings.reward_widths).index((width, n_pairs)),
        rows=256,
    )


def predict(settings: Settings, folder: Path) -> None:
    """Measures the smaller reward models, fits their laws, and writes down what they say of the largest."""
    *smaller, largest = settings.reward_widths
    along = ppo_curves(settings, folder, tuple(smaller))
    start = float(along.loc[along["kl"] < CLOSE, "gold"].mean())  # of policies that had not gone anywhere yet
    table = curves(settings, folder, tuple(smaller), along, start)
    size = models.count(reward_model(settings, largest, settings.n_pairs[0]).model).n_params
    said: dict[str, Any] = {"reward_params": size, "level": settings.level, "start": start}
    said["n_pairs"] = list(settings.n_pairs)
    for way, law in LAWS.items():
        rows = pd.DataFrame(table[(table["way"] == way) & (table["kl"] <= FAR)])
        fit = laws.fit_law(rows, law, settings.n_bootstrap, settings.level)
        kl = np.linspace(0.0, np.sqrt(rows["kl"].max()), 33) ** 2
        columns = {name: rows[name].to_numpy(float) for name in COLUMNS}
        scatter = laws.rms(laws.resampled(fit, 0.0, columns)["loss"] - rows["reward"].to_numpy(float))
        said[way] = {"scatter": scatter}
        for n in settings.n_pairs:
            d, reward = PEAKS[way](*coefficients(fit.params, reward_params=size, n_pairs=n))
            about = {"reward_params": np.full(len(kl), float(size)), "n_pairs": np.full(len(kl), float(n))}
            curve = laws.resampled(fit, scatter, {"kl": kl, **about})
            said[way][str(n)] = {
                "peak_d": number(d),
                "peak_reward": number(reward),
                "kl": kl.tolist(),
                **{name: values.tolist() for name, values in curve.items()},
            }
        write_json(folder / FITS[way], fit.to_json())
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    write_json(folder / "prediction.json", said)


def ppo_curves(settings: Settings, folder: Path, widths: tuple[int, ...]) -> pd.DataFrame:
    """What PPO against reward models of these widths recorded: width, n_pairs, kl, proxy, gold."""
    each = [
        measures.reward_curve(folder / "runs" / ppo(settings, width, n).run_id).assign(width=width, n_pairs=n)
        for width, n in grid(settings, widths)
    ]
    return pd.concat(each, ignore_index=True)


def curves(
    settings: Settings, folder: Path, widths: tuple[int, ...], along: pd.DataFrame, start: float
) -> pd.DataFrame:
    """What maximising reward models of these widths does: way, width, reward_params, n_pairs, kl, proxy,
    gold, reward, run_id (of the reward model); kl_bound and n of best-of-n.

    Args:
      settings: of the study.
      folder: of the study.
      widths: of the reward models.
      along: their `ppo_curves`.
      start: the true reward of the policy that PPO begins as.
    """
    runs, best = folder / "runs", []
    samples = measures.sample_policy(
        runs / policy(settings).run_id, settings.gold, settings.n_prompts, settings.n_samples, settings.seed
    )
    for width, n in grid(settings, widths):
        proxy = measures.proxy_rewards(runs / reward_model(settings, width, n).run_id, samples)
        best.append(measures.best_of_n_curve(proxy, samples).assign(width=width, n_pairs=n, way="best of n"))
    ppo = along.assign(reward=along["gold"] - start, way="PPO")
    table = pd.concat([*best, ppo], ignore_index=True)
    sizes = {
        width: models.count(reward_model(settings, width, settings.n_pairs[0]).model).n_params
        for width in widths
    }
    names = table["width"].astype(str) + " on " + table["n_pairs"].astype(str)
    return table.assign(reward_params=[sizes[width] for width in table["width"]], run_id=names)


def dpo_curve(settings: Settings, folder: Path) -> pd.DataFrame:
    """Where DPO ended: n_pairs, beta, kl, gold, reward."""
    start, rows = folder / "runs" / policy(settings).run_id, []
    about = settings.gold, settings.n_prompts, 16, settings.seed + 1
    before = measures.sample_policy(start, *about).gold.mean()
    for n, beta, config in dpo(settings):
        run = folder / "runs" / config.run_id
        samples = measures.sample_policy(run, *about)
        kl = max(measures.divergence(run, start, samples), 0.0)
        rows.append({"n_pairs": n, "beta": beta, "kl": kl, "gold": samples.gold.mean()})
    return pd.DataFrame(rows).assign(reward=lambda table: table["gold"] - before, way="DPO")


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Compares what the laws said of the largest reward models with what they came to; writes
    over_optimisation.csv, .json and .png."""
    said = json.loads((folder / "prediction.json").read_text())
    widths = settings.reward_widths[-1:]
    larger = curves(settings, folder, widths, ppo_curves(settings, folder, widths), said["start"])
    smaller, dpo = pd.read_csv(folder / "smaller.csv"), dpo_curve(settings, folder)
    result: dict[str, Any] = {"errors": errors(settings, folder)}
    for way in LAWS:
        fit = laws.read_fit(folder / FITS[way])
        rows = pd.DataFrame(larger[(larger["way"] == way) & (larger["kl"] <= FAR)])
        result[way] = {"params": laws.parameters(fit)} | {
            str(n): compare(said[way], fit, pd.DataFrame(rows[rows["n_pairs"] == n]))
            for n in settings.n_pairs
        }
    result["DPO"] = {
        str(n): of_dpo(pd.DataFrame(dpo[dpo["n_pairs"] == n]), settings) for n in settings.n_pairs
    }
    table = pd.concat([smaller, larger, dpo], ignore_index=True)
    write_atomic(folder / "over_optimisation.csv", table.to_csv(index=False))
    write_json(folder / "over_optimisation.json", result)
    write_findings(folder, [picture(pd.DataFrame(table[table["kl"] <= FAR]), said)])
    return conclusion(result, said)


def picture(table: pd.DataFrame, said: dict[str, Any]) -> Picture:
    """Every curve up to FAR, with what was predicted of the largest reward models."""
    return Picture(
        "over_optimisation",
        "True reward gained, by distance from the start",
        "A row a way of optimising, a panel a number of pairs. Dashed: the law of the smaller reward models, "
        f"for the largest, with the {said['level']:.0%} interval of a point. Numbers at DPO's points are β.",
        figures.over_optimisation(table, said, list(LAWS)),
    )


def errors(settings: Settings, folder: Path) -> dict[str, dict[str, float]]:
    """Share of fresh pairs that each reward model ranks wrongly, by width and number of pairs."""
    found: dict[str, dict[str, float]] = {}
    for width, n in grid(settings, settings.reward_widths):
        run = folder / "runs" / reward_model(settings, width, n).run_id
        found.setdefault(str(width), {})[str(n)] = measures.ranking_error(run, settings.gold, 4096)
    return found


def of_dpo(rows: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """The law of DPO over β on some pairs: its peak, and whether the reward turned within the β tried."""
    fit = laws.fit_law(rows, DPO, settings.n_bootstrap, settings.level)
    d, reward = peak_of_rl(fit.params["alpha"], fit.params["beta"])
    best = rows.loc[rows["reward"].idxmax()]
    return {
        "params": laws.parameters(fit),
        "peak_d": number(d),
        "peak_reward": number(reward),
        "best_beta": float(best["beta"]),
        "best_reward": float(best["reward"]),
        "furthest_reward": float(rows.loc[rows["kl"].idxmax(), "reward"]),
    }


def compare(said: dict[str, Any], fit: scaling.Fit, measured: pd.DataFrame) -> dict[str, Any]:
    """What was predicted and measured: peaks, error of the curve, share of points in the interval."""
    reward = measured["reward"].to_numpy(float)
    columns = {name: measured[name].to_numpy(float) for name in COLUMNS}
    predicted = laws.resampled(fit, said["scatter"], columns)
    of_these = said[str(int(columns["n_pairs"][0]))]
    own = fit_of_one(measured)
    d, height = PEAKS[str(measured["way"].iloc[0])](*own)
    inside = (predicted["lo"] <= reward) & (reward <= predicted["hi"])
    return {
        "predicted": {"peak_d": of_these["peak_d"], "peak_reward": of_these["peak_reward"]},
        "measured": {"peak_d": number(d), "peak_reward": number(height), "highest": float(reward.max())},
        "rms_error": laws.rms(predicted["loss"] - reward),
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


def conclusion(result: dict[str, Any], said: dict[str, Any]) -> str:
    """The lines that matter: peaks predicted and measured."""
    lines = ["pairs that reward models rank wrongly, by width and number of pairs:"]
    for width, found in result["errors"].items():
        lines.append(f"  {width}: " + ", ".join(f"{int(n):,} {error:.3f}" for n, error in found.items()))
    lines.append(f"of those with {said['reward_params']:,} parameters, before they were optimised and after:")
    for way in LAWS:
        for n in map(str, said["n_pairs"]):
            found = result[way][n]
            lines.append(
                f"  {way}, {int(n):,} pairs: peak predicted {peak(found['predicted'])}, measured "
                f"{peak(found['measured'])}; the curve is {found['rms_error']:.3f} off (RMS) over a range of "
                f"{found['range']:.2f}, {found['inside']:.0%} of its points inside the {said['level']:.0%} "
                "interval"
            )
    for n, found in result["DPO"].items():
        lines.append(
            f"  DPO, {int(n):,} pairs: best at β = {found['best_beta']:g}, {found['best_reward']:+.3f}; "
            f"furthest from the start {found['furthest_reward']:+.3f}; peak of its law {peak(found)}"
        )
    return "\n".join(lines)


def peak(found: dict[str, Any]) -> str:
    """Where a curve peaks and how high, in words."""
    if found["peak_d"] is None or found["peak_d"] > FAR**0.5:
        return f"none up to √KL = {FAR**0.5:.1f}"
    return f"+{found['peak_reward']:.3f} at √KL = {found['peak_d']:.2f}"
