"""Which mixture of domains is best for a target: small models on many mixtures, a law, and a larger check.

1. proxies: a small model on each mixture of a design (the centre, the corners, and points between them); and
   still smaller ones on some of these.
2. verify: at several times the compute, the mixture that the laws call best, the uniform one, and some of the
   design. What is expected of them is written down before they train.
Each domain's loss has a law over the shares of all domains. A law of proxies cannot say what a larger model's
loss will be; it says which mixture is better and by how much, and that is what is checked, with the rank
correlation between proxies of each size and the larger models.
"""

import dataclasses
import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.prepare import open_splits
from experiments.data_configs import DataConfig, MixtureConfig, SourceConfig
from experiments.fields import Numbers, apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.budgets import Sweep
from experiments.studies.data import figures, mixture_laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import count, ladder
from scaling.design.mixture_grid import mixture_grid
from scaling.optimum.mixtures import BestMixture, best_mixture, epoch_caps
from scaling.report import Picture
from scaling.table.runs import Runs

# Four domains that need no download.
SOURCES = (
    SourceConfig("library", "docstrings", where="package=python"),
    SourceConfig(
        "networks", "docstrings", where="package=tensorflow|keras|jax|flax|orbax|optax|pyglove|seqio"
    ),
    SourceConfig("numbers", "docstrings", where="package=scipy|pandas|numpy|narwhals|pyarrow"),
    SourceConfig("walks", "walks"),
)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. `target` weighs the domains' losses; {}: all alike.

    proxies: sizes and budgets; the law is of the last, on all mixtures, and the others train on those that
      are checked. `verify` is what they are checked on, with `n_checked` mixtures of the design.
    max_epochs: of a domain at the larger budget: caps of the best mixture's shares.
    """

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig("mixture", sources=SOURCES))
    target: Numbers = dataclasses.field(default_factory=Numbers)
    n_mixtures: int = 24
    proxies: tuple[Sweep, ...] = (Sweep(16, 8e9), Sweep(24, 2e10))
    verify: Sweep = dataclasses.field(default_factory=lambda: Sweep(48, 1.6e11))
    n_checked: int = 6
    max_epochs: float = 4.0
    lr: float = 1e-2
    seq_len: int = 128
    batch_tokens: int = 1024
    n_val_tokens: int = 65_536
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if not self.data.has_components:
            raise ValueError("Settings.data has no components; give data.sources, or data.task and data.by")
        if self.data.mixture:
            raise ValueError("Settings.data.mixture: the mixtures are what the study varies; leave it out")
        if not 3 <= self.n_checked <= self.n_mixtures or not self.proxies:
            raise ValueError(
                f"Settings: n_checked={self.n_checked} of n_mixtures={self.n_mixtures}, {len(self.proxies)} "
                "proxies; take 3 or more, and a proxy"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    for size in (*settings.proxies, settings.verify):
        configure(settings, size, {"any": 1.0})
    sources = [source.name for source in settings.data.sources]
    if sources and (unknown := set(settings.target) - set(sources)):
        raise ValueError(f"Settings.target: {', '.join(sorted(unknown))} is no domain of data.sources")
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("proxies", lambda runs: proxies(settings)),
        Stage(
            "verify",
            lambda runs: verify(settings, runs),
            before=lambda folder, runs, configs: predict(settings, folder, runs),
        ),
    )
    summary = (
        "small models on many mixtures of domains, a law, and the best mixture checked at larger compute"
    )
    return Study("mixture", summary, settings, stages, functools.partial(finish, settings))


def configure(settings: Settings, size: Sweep, shares: dict[str, float]) -> RunConfig:
    """A run of this size on a mixture."""
    model = ladder(size.d_model, settings.data.vocab_size)
    mixture = MixtureConfig(Numbers({name: round(share, 3) for name, share in shares.items()}))
    return RunConfig(
        model=model,
        data=dataclasses.replace(settings.data, mixture=mixture),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=round(size.flops / count(model).flops_per_token(settings.seq_len)),
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def unique_tokens(settings: Settings) -> dict[str, int]:
    """Tokens to train on of each domain."""
    return {name: part["n_tokens"] for name, part in open_splits(settings.data)[0].components.items()}


def domains(settings: Settings) -> list[str]:
    """Names of the domains, in the order of the corpus; its sources say them before it is prepared."""
    return sorted(source.name for source in settings.data.sources) or list(unique_tokens(settings))


def design(settings: Settings) -> list[dict[str, float]]:
    """Shares by domain of all mixtures: the centre, the corners, and points between them.

    Raises:
      ValueError: too few for laws of so many domains.
    """
    names = domains(settings)
    folds, n = mixture_laws.FOLDS, len(names)
    least = n + math.ceil((2 * n + 2) * folds / (folds - 1))  # 2n + 1 parameters; corners are left out
    if settings.n_mixtures < least:
        raise ValueError(
            f"Settings.n_mixtures={settings.n_mixtures}: too few for laws of {n} domains; give {least} or "
            "more"
        )
    grid = mixture_grid(settings.n_mixtures, names, settings.seed)
    return [dict(zip(names, map(float, row))) for row in grid.to_numpy()]


def checked(settings: Settings) -> list[dict[str, float]]:
    """The mixtures of the design that are trained at every size: the centre, and the last ones."""
    mixtures = design(settings)
    return [mixtures[0], *mixtures[len(mixtures) - settings.n_checked + 1 :]]


def proxies(settings: Settings) -> list[RunConfig]:
    """Runs of the small models."""
    smaller = [configure(settings, size, m) for size in settings.proxies[:-1] for m in checked(settings)]
    return smaller + [configure(settings, settings.proxies[-1], mixture) for mixture in design(settings)]


def verify(settings: Settings, runs: Runs) -> list[RunConfig]:
    """Runs of the larger model: on the mixture called best, and on those that are checked."""
    best = best_of(settings, fit_laws(settings, runs, n_bootstrap=0))
    return [configure(settings, settings.verify, m) for m in (best.shares, *checked(settings))]


def weight_of(settings: Settings) -> dict[str, float]:
    """The weight of each domain's loss in the target; they sum to 1."""
    names = [name for name in domains(settings) if settings.target.get(name, 0) or not settings.target]
    weights = {name: settings.target.get(name, 1.0) for name in names}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def of_size(settings: Settings, runs: Runs, size: Sweep) -> pd.DataFrame:
    """The runs of a size, whose `target` is the weighted mean of the domains' losses."""
    table = pd.DataFrame(runs.table[runs.table["d_model"] == size.d_model]).reset_index(drop=True)
    weights = weight_of(settings)
    losses = table[[f"loss_{name}" for name in weights]].to_numpy(float)
    return table.assign(target=losses @ np.array(list(weights.values())))


def targets(settings: Settings, runs: Runs, size: Sweep, configs: list[RunConfig]) -> list[float]:
    """The targets of runs of a size.

    Args:
      settings: of the study; runs: all of them.
      size: of those that are asked for; configs: these.
    """
    table = of_size(settings, runs, size)
    by_run = dict(zip(table["run_id"], table["target"]))
    return [float(by_run[config.run_id]) for config in configs]


def fitted(settings: Settings, runs: Runs) -> pd.DataFrame:
    """The proxies that laws are fitted to."""
    return mixture_laws.inside(of_size(settings, runs, settings.proxies[-1]), domains(settings))


def fit_laws(settings: Settings, runs: Runs, n_bootstrap: int) -> dict[str, scaling.Fit]:
    """The law of each domain's loss that counts, over the shares of all domains."""
    table, statistics = fitted(settings, runs), (n_bootstrap, settings.level, settings.seed)
    return {
        name: mixture_laws.fit_law(table, domains(settings), name, *statistics)
        for name in weight_of(settings)
    }


def best_of(settings: Settings, fits: dict[str, scaling.Fit]) -> BestMixture:
    """The mixture of the lowest target that repeats no domain too often at the larger budget."""
    larger = configure(settings, settings.verify, {"any": 1.0})
    caps = epoch_caps(unique_tokens(settings), larger.n_tokens, settings.max_epochs)
    return best_mixture(list(fits.values()), list(weight_of(settings).values()), caps)


def predict(settings: Settings, folder: Path, runs: Runs) -> None:
    """Writes down the laws, the mixture they call best, and how much better it should be."""
    fits = fit_laws(settings, runs, settings.n_bootstrap)
    best = best_of(settings, fits)
    uniform = {f"share_{name}": 1 / len(best.shares) for name in best.shares}
    weights = np.array(list(weight_of(settings).values()))
    at_uniform = float(weights @ [float(fit.predict(**uniform).loss) for fit in fits.values()])
    gain = mixture_laws.gain_over_equal(fits, weight_of(settings), best.shares, settings.level)
    prediction = {
        "shares": best.shares,
        "lo": best.lo,
        "hi": best.hi,
        "level": settings.level,
        "target_of_proxy": best.loss,
        "target_of_proxy_at_uniform": at_uniform,
        "relative_gain": 1 - best.loss / at_uniform,
        "relative_gain_interval": gain,
        "held_out_error": mixture_laws.held_out_errors(fitted(settings, runs), domains(settings), list(fits)),
    }
    write_json(folder / "prediction.json", prediction)
    write_json(folder / "fits.json", {name: fit.to_json() for name, fit in fits.items()})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes mixture.csv, .json and .png; says whether the mixture called best was better."""
    prediction: dict[str, Any] = json.loads((folder / "prediction.json").read_text())
    result = prediction | verification(settings, runs)
    sizes = (*settings.proxies, settings.verify)
    table = pd.concat([of_size(settings, runs, size) for size in sizes], ignore_index=True)
    fits = fit_laws(settings, runs, n_bootstrap=0)
    losses = mixture_laws.predicted_and_measured(fits, fitted(settings, runs), domains(settings))
    write_atomic(folder / "mixture.csv", table.to_csv(index=False))
    write_json(folder / "mixture.json", result)
    picture = Picture(
        "mixture",
        "The law against what was measured, and the best mixture",
        "Left: each domain's loss in each mixture of the small models; on the line the law is exact. Middle: "
        "shares of the best mixture with their intervals; dashed: equal shares. Right: mixtures that were "
        "trained at every size; they rise from left to right where small models rank them as large ones do.",
        figures.mixture(losses, result),
    )
    write_findings(folder, [picture])
    return conclusion(settings, result)


def verification(settings: Settings, runs: Runs) -> dict[str, Any]:
    """What the larger models say of the mixture called best, and of the proxies of each size."""
    configs = verify(settings, runs)
    best, *others = targets(settings, runs, settings.verify, configs)
    by_size, ranks = {}, {}
    for size in settings.proxies:
        same = [configure(settings, size, mixture) for mixture in checked(settings)]
        by_size[f"d_model={size.d_model}"] = smaller = targets(settings, runs, size, same)
        ranks[f"d_model={size.d_model}"] = mixture_laws.rank_correlation(smaller, others)
    return {
        "target": best,
        "target_at_uniform": others[0],
        "measured_gain": 1 - best / others[0],
        "best_of_checked": min(others),
        "targets_of_checked": by_size | {f"d_model={settings.verify.d_model}": others},
        "rank_correlation": ranks,
    }


def conclusion(settings: Settings, result: dict[str, Any]) -> str:
    """What was predicted, what was measured, and how proxies rank mixtures."""
    shares = ", ".join(
        f"{name} {share:.0%} ({result['lo'][name]:.0%} to {result['hi'][name]:.0%})"
        for name, share in result["shares"].items()
    )
    errors = ", ".join(f"{name} {error:.2%}" for name, error in result["held_out_error"].items())
    ranks = ", ".join(f"{name}: {rho:.2f}" for name, rho in result["rank_correlation"].items())
    lo, hi = result["relative_gain_interval"]
    factor = settings.verify.flops / settings.proxies[-1].flops
    return (
        f"law of mixtures, error on mixtures left out: {errors}\n"
        f"the best mixture is {shares}\n"
        f"predicted to be {result['relative_gain']:.2%} ({lo:.2%} to {hi:.2%}) better than equal shares\n"
        f"measured at {factor:.0f}× compute: {result['measured_gain']:.2%}, {result['target']:.4f} against "
        f"{result['target_at_uniform']:.4f} nats per token; the best of the design has "
        f"{result['best_of_checked']:.4f}\n"
        f"rank correlation of proxies with the larger models on {settings.n_checked} mixtures: {ranks}"
    )
