"""One law of the best learning rate over width, depth, tokens and batch together, with their interactions.

    log lr* = c + sum_i a_i log x_i + sum_ij b_ij log x_i log x_j        (logs about the middle of the sweeps)

`HparamLaws` knows N and D and finds the batch that is best. Here the batch is given, like every other column,
so that transfer over each of them is one exponent. Whether the rate rises or falls with the tokens depends on
what the batch does meanwhile, and published laws differ in that: lr* ~ D^0.31 at the best batch (Li et al.
2025, arXiv 2503.04715), D^-0.32 at one batch (Bjorck et al. 2024, arXiv 2409.19913). Both are said.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from scaling.hparams.fit_surface import FittedSurfaces, LawPrior, fit_surfaces
from scaling.hparams.sweep_optima import REACH, sweep_centre
from scaling.hparams.sweeps import MIN_SETTINGS, SAME, bins, check_apart
from scaling.table.cell_values import numbers
from scaling.table.runs import Runs, finished, post_trained

# Exponents before any sweep is seen, mean and standard deviation: wide enough for muP (0 of the width) and
# the standard parametrisation (-1), and for what is published (`scaling.hparams.fit_hparams`).
PRIOR = {
    "n_params": (-0.4, 0.3),
    "d_model": (-0.5, 0.5),
    "n_layers": (-0.2, 0.4),
    "n_tokens": (0.0, 0.3),
    "batch_tokens": (0.5, 0.4),
}
SUPPORT, INTERACTION_SD = 3.0, 0.3  # an interaction is kept so many standard deviations off 0; its prior's
BATCH_BY_TOKENS = 0.5  # how the best batch grows, about: D^0.57 in 2503.04715, D^0.47 in 2410.21676


class Exponent(NamedTuple):
    """With the ends of its interval."""

    value: float
    lo: float
    hi: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.lo:.2f}, {self.hi:.2f}]"


@dataclass(frozen=True, eq=False)
class JointLrLaw:
    """The law and what it was found from.

    Attributes:
      exponents: by column; interactions: by pair of columns, those that the runs support.
      origin: of the columns, where the exponents are what they are and interactions are 0.
      lr: there, the best rate.
      by_tokens: d log lr* / d log D under each condition, in words.
      scatter: of log optima about the law; noise: of log loss; n_sweeps; level: of the intervals.
    """

    exponents: dict[str, Exponent]
    interactions: dict[tuple[str, str], Exponent]
    origin: dict[str, float]
    lr: float
    by_tokens: dict[str, Exponent]
    scatter: float
    noise: float
    n_sweeps: int
    level: float

    def predict(self, **columns: float) -> float:
        """The best rate at a value of each of the law's columns."""
        logs = {name: np.log(columns[name] / middle) for name, middle in self.origin.items()}
        powers = sum(each.value * logs[name] for name, each in self.exponents.items())
        crossed = sum(each.value * logs[a] * logs[b] for (a, b), each in self.interactions.items())
        return float(self.lr * np.exp(powers + crossed))

    def to_json(self) -> dict:
        """Plain values."""
        crossed = {" * ".join(pair): list(each) for pair, each in self.interactions.items()}
        return {
            **vars(self),
            "exponents": {name: list(each) for name, each in self.exponents.items()},
            "interactions": crossed,
            "by_tokens": {condition: list(each) for condition, each in self.by_tokens.items()},
        }

    def __str__(self) -> str:
        lines = [f"lr over {', '.join(self.exponents)} together, {self.n_sweeps} sweeps:"]
        lines += [f"  {name}^{each}" for name, each in self.exponents.items()]
        lines += [f"  ln {a} · ln {b}: {each}" for (a, b), each in self.interactions.items()]
        for condition, each in self.by_tokens.items():
            sign = "rises" if each.lo > 0 else "falls" if each.hi < 0 else "neither rises nor falls surely"
            lines.append(f"  with more tokens, {condition}, the best rate {sign}: n_tokens^{each}")
        return "\n".join(lines)


def fit_joint_lr(runs: Runs, level: float = 0.9, n_draws: int = 1000, seed: int = 0) -> JointLrLaw:
    """The law through all sweeps of the rate: runs that agree in every column of it at three rates or more.

    Columns that do not vary are left out; n_params counts only where width and depth are not both told.

    Args:
      runs: lr, loss and columns of PRIOR, a row a run; diverged runs are left out.
      level: of the intervals.
      n_draws: of the posterior; seed: of the draws.

    Raises:
      ValueError: no lr or too few sweeps, or runs of several parametrizations, optimizers or families.
    """
    check_apart(runs)
    table, columns = _settings(runs)
    groups = [rows for _, rows in table.groupby(bins(table, columns))]
    groups = [rows for rows in groups if len(np.unique(rows["lr"].to_numpy())) >= MIN_SETTINGS]
    middles = np.array([rows[columns].median().to_numpy(float) for rows in groups])  # [sweeps, columns]
    varies = np.ptp(np.log(middles), axis=0) > SAME if groups else np.zeros(len(columns), bool)
    columns = [name for name, moves in zip(columns, varies) if moves]
    if len(groups) < len(columns) + 2 or not columns:
        raise ValueError(
            f"{len(groups)} sweeps of the rate over {', '.join(columns) or 'nothing'}; a joint law takes at "
            f"least {max(len(columns), 1) + 2}"
        )
    sweeps = [(np.log(rows[["lr"]].to_numpy()), np.log(rows["loss"].to_numpy())) for rows in groups]
    logs = np.log(middles[:, varies])
    origin = logs.mean(axis=0)
    pairs = [
        pair
        for pair in itertools.combinations(range(len(columns)), 2)
        if _supported(_fit(sweeps, logs - origin, columns, [pair], n_draws, seed))
    ]
    found = _fit(sweeps, logs - origin, columns, pairs, n_draws, seed)
    draws, law = found.laws[..., 0], found.law[:, 0]  # [n, t], [t]

    def exponent(of: np.ndarray, about: np.ndarray) -> Exponent:
        lo, hi = np.quantile(about, [(1 - level) / 2, (1 + level) / 2])
        return Exponent(float(of), float(lo), float(hi))

    single = {name: exponent(law[1 + i], draws[:, 1 + i]) for i, name in enumerate(columns)}
    first = 1 + len(columns)
    crossed = {
        (columns[a], columns[b]): exponent(law[first + k], draws[:, first + k])
        for k, (a, b) in enumerate(pairs)
    }
    by_tokens = {}
    if "n_tokens" in columns:
        d = 1 + columns.index("n_tokens")
        by_tokens["at one batch"] = single["n_tokens"]
        if "batch_tokens" in columns:
            b = 1 + columns.index("batch_tokens")
            both = [v[..., d] + BATCH_BY_TOKENS * v[..., b] for v in (law, draws)]
            by_tokens[f"the batch growing as n_tokens^{BATCH_BY_TOKENS}"] = exponent(*both)
    return JointLrLaw(
        exponents=single,
        interactions=crossed,
        origin=dict(zip(columns, np.exp(origin).tolist())),
        lr=float(np.exp(law[0])),
        by_tokens=by_tokens,
        scatter=float(found.scatter[0]),
        noise=found.noise,
        n_sweeps=len(groups),
        level=level,
    )


def _settings(runs: Runs) -> tuple[pd.DataFrame, list[str]]:
    """(lr, loss and what the law reads, of finished runs; the columns that it reads)."""
    runs = runs.without(post_trained(runs.table), "post-trained, with a loss of its own")
    runs = replace(runs, table=runs.table[finished(runs.table)])
    if "lr" not in runs.table:
        raise ValueError("no column lr; name it with --columns lr=…")
    both = {"d_model", "n_layers"} <= set(runs.table)
    left_out = ("n_params",) if both else ("d_model", "n_layers")
    columns = [name for name in PRIOR if name in runs.table and name not in left_out]
    table = pd.DataFrame({name: numbers(runs.table[name]) for name in ("lr", "loss", *columns)})
    values = table.to_numpy(float)
    known = [name for name in columns if np.all((table[name].to_numpy() > 0) & np.isfinite(table[name]))]
    return table.loc[(values[:, 0] > 0) & (values[:, 1] > 0)], known


def _fit(
    sweeps: Sequence[tuple[np.ndarray, np.ndarray]],
    logs: np.ndarray,
    columns: list[str],
    pairs: list[tuple[int, int]],
    n_draws: int,
    seed: int,
) -> FittedSurfaces:
    """The surfaces under a law with these interactions."""
    crossed = [logs[:, a] * logs[:, b] for a, b in pairs]
    design = np.column_stack([np.ones(len(logs)), logs, *crossed])
    mean, sd = np.array([PRIOR[name] for name in columns]).T
    prior = LawPrior(
        np.concatenate([sweep_centre(sweeps), mean, np.zeros(len(pairs))])[:, None],
        np.concatenate([[REACH], sd, np.full(len(pairs), INTERACTION_SD)])[:, None],
    )
    return fit_surfaces(sweeps, design, prior, n_draws, np.random.default_rng(seed))


def _supported(found: FittedSurfaces) -> bool:
    """Whether the last term is far off 0."""
    return bool(abs(found.law[-1, 0]) > SUPPORT * found.laws[:, -1, 0].std())
