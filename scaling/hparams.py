"""The law of the learning rate: the best rate of each size from a sweep, and a power law through those."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.isoflop import nan_to_none, none_to_nan
from scaling.runs import Runs
from scaling.valley import Valley, valleys

MIN_RATES = 3
SAME = 0.02  # runs whose N and D agree within this ratio belong to one sweep
SCATTER = 0.15  # of log lr around the law, beyond the doubt of each optimum: a guess
# Exponents before any sweep is seen: mean and standard deviation. Where D grows in proportion to N,
# the two of Li et al. 2025 (arXiv 2503.04715), N^-0.713 D^0.307, add up to -0.4.
PRIOR_ALONG, PRIOR_N, PRIOR_D = (-0.4, 0.25), (-0.7, 0.3), (0.3, 0.3)
INDEPENDENT = 0.3  # log D must vary by this much (standard deviation) at given N for an exponent of its own


@dataclass(frozen=True)
class LrOptimum:
    """The best rate of one sweep; `at_edge`: only a bound, the sweep did not bracket it."""

    n_params: float
    n_tokens: float
    lr: float
    lo: float
    hi: float
    loss: float
    at_edge: bool


@dataclass(frozen=True, eq=False)
class LrLaw:
    """lr* as a power law.

    Attributes:
      law: its formula; without D in it the sweeps lie on one line in N and D, and it holds near that line.
      params, ci: coefficient c and exponents, with intervals at `level`.
      samples: draws of (log c, exponents) around `centre` [draws, 2 or 3].
      centre: log n_params, log n_tokens that the fit is centred on.
    """

    law: str
    params: dict[str, float]
    ci: dict[str, tuple[float, float]]
    level: float
    optima: tuple[LrOptimum, ...]
    samples: np.ndarray
    theta: np.ndarray
    centre: tuple[float, float]

    def predict(self, n_params, n_tokens=None) -> tuple[Any, Any, Any]:
        """(lr, lo, hi) at new sizes. `n_tokens` is needed only where the law has D in it.

        Raises:
          ValueError: the law has D in it and n_tokens is missing.
        """
        if len(self.theta) == 3 and n_tokens is None:
            raise ValueError(f"{self.law}: give n_tokens too")
        tokens = np.exp(self.centre[1]) if n_tokens is None else n_tokens
        n, d = np.broadcast_arrays(np.asarray(n_params, float), np.asarray(tokens, float))
        x = _design(
            np.log(n).ravel() - self.centre[0], np.log(d).ravel() - self.centre[1], len(self.theta) == 3
        )
        tail = (1 - self.level) / 2
        ends = np.quantile(self.samples @ x.T, [tail, 1 - tail], axis=0)
        found = np.exp([x @ self.theta, *ends])
        lr, lo, hi = (v.reshape(n.shape) if n.ndim else float(v[0]) for v in found)
        return lr, lo, hi

    def to_json(self) -> dict[str, Any]:
        return {
            "law": self.law,
            "params": self.params,
            "ci": {k: list(v) for k, v in self.ci.items()},
            "level": self.level,
            "optima": [nan_to_none(asdict(optimum)) for optimum in self.optima],
            "theta": self.theta.tolist(),
            "samples": self.samples.tolist(),
            "centre": list(self.centre),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "LrLaw":
        """Raises ValueError where a key is missing."""
        try:
            return LrLaw(
                law=content["law"],
                params=content["params"],
                ci={k: tuple(v) for k, v in content["ci"].items()},
                level=content["level"],
                optima=tuple(LrOptimum(**none_to_nan(optimum)) for optimum in content["optima"]),
                samples=np.asarray(content["samples"], float),
                theta=np.asarray(content["theta"], float),
                centre=tuple(content["centre"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"not an lr.json of isoflop ({error!r}); it comes from the sweep of a study"
            ) from error

    def __str__(self) -> str:
        values = [f"{k} {v:.4g} [{self.ci[k][0]:.4g}, {self.ci[k][1]:.4g}]" for k, v in self.params.items()]
        edge = sum(optimum.at_edge for optimum in self.optima)
        return (
            f"{self.law}: {', '.join(values)}; {len(self.optima)} sweeps, {edge} with the optimum at an edge"
        )


def fit_lr(runs: Runs, seed: int = 0, level: float = 0.9, n_draws: int = 1000) -> LrLaw:
    """The best learning rate of every sweep (runs of equal N and D at three or more rates), and the power law
    through them under a weak prior on its exponents.

    Diverged runs are left out; a rate may have several seeds. The parabolas in log lr share one curvature.

    Raises:
      ValueError: the table has no lr, or no sweep with three finished rates.
    """
    table = runs.table
    if "lr" not in table:
        raise ValueError("the table has no column lr; a learning-rate law needs the rate of each run")
    ok = np.isfinite(table["loss"]) & (table["lr"] > 0)
    if "status" in table:
        ok &= table["status"] != "diverged"
    sweeps = _sweeps(table.loc[ok])
    if not sweeps:
        raise ValueError(f"no sweep: no (n_params, n_tokens) has {MIN_RATES} finished learning rates")
    rng = np.random.default_rng(seed)
    groups = [(np.log(g["lr"].to_numpy(float)), np.log(g["loss"].to_numpy())) for g in sweeps]
    found = valleys(groups, n_draws, rng, shared_curvature=True)
    optima = tuple(_optimum(sweep, valley, level) for sweep, valley in zip(sweeps, found))
    log_n, log_d = (np.log([getattr(o, name) for o in optima]) for name in ("n_params", "n_tokens"))
    centre = (float(log_n.mean()), float(log_d.mean()))
    own_d = _independent(log_n, log_d)
    design = _design(log_n - centre[0], log_d - centre[1], own_d)
    theta, samples = _power_law(design, optima, found, own_d, rng)
    both = _natural(np.vstack([theta, samples]), centre)
    names = ("c", "a", "b")[: both.shape[1]]
    ends = np.quantile(both[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return LrLaw(
        law="lr = c * N^a * D^b" if own_d else "lr = c * N^a along the sweep",
        params={name: float(both[0, i]) for i, name in enumerate(names)},
        ci={name: (float(ends[0, i]), float(ends[1, i])) for i, name in enumerate(names)},
        level=level,
        optima=optima,
        samples=samples,
        theta=theta,
        centre=centre,
    )


def _sweeps(table: pd.DataFrame) -> list[pd.DataFrame]:
    cells = [np.round(np.log(table[name]) / SAME).astype(int) for name in ("n_params", "n_tokens")]
    return [group for _, group in table.groupby(cells) if np.unique(group["lr"]).size >= MIN_RATES]


def _optimum(sweep: pd.DataFrame, valley: Valley, level: float) -> LrOptimum:
    known = valley.draws[np.isfinite(valley.draws)]
    lo, hi = (
        np.exp(np.quantile(known, [(1 - level) / 2, (1 + level) / 2])) if len(known) else (np.nan, np.nan)
    )
    n_params, n_tokens = (float(np.exp(np.log(sweep[name]).mean())) for name in ("n_params", "n_tokens"))
    lr, loss = float(np.exp(valley.log_x)), float(np.exp(valley.log_loss))
    return LrOptimum(n_params, n_tokens, lr, float(lo), float(hi), loss, bool(valley.at_edge))


def _independent(log_n: np.ndarray, log_d: np.ndarray) -> bool:
    """Whether D varies on its own, so that it can have an exponent of its own."""
    if len(log_n) < 4 or len(np.unique(np.round(log_n, 2))) < 2:
        return False
    left = log_d - np.polyval(np.polyfit(log_n, log_d, 1), log_n)
    return bool(left.std() > INDEPENDENT)


def _design(log_n: np.ndarray, log_d: np.ndarray, own_d: bool) -> np.ndarray:
    columns = [np.ones_like(log_n), log_n, log_d] if own_d else [np.ones_like(log_n), log_n]
    return np.stack(columns, axis=-1)


def _power_law(
    design: np.ndarray, optima, found: list[Valley], own_d: bool, rng
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge towards the prior exponents, weighted by the doubt of each optimum; draws of its posterior.

    An optimum at an edge counts for its doubt plus the factor of e that it may be off by.
    """
    y = np.log([optimum.lr for optimum in optima])
    spread = np.array([np.nanstd(np.clip(v.draws, v.log_x - 2, v.log_x + 2)) for v in found])
    variance = np.nan_to_num(spread, nan=2.0) ** 2 + SCATTER**2 + np.array([float(o.at_edge) for o in optima])
    prior = np.array([(0.0, np.inf), *((PRIOR_N, PRIOR_D) if own_d else (PRIOR_ALONG,))])
    precision = np.diag(1 / prior[:, 1] ** 2)
    information = design.T @ (design / variance[:, None]) + precision
    theta = np.linalg.solve(information, design.T @ (y / variance) + precision @ prior[:, 0])
    factor = np.linalg.cholesky(np.linalg.inv(information))
    return theta, theta + rng.standard_normal((len(found[0].draws), len(theta))) @ factor.T


def _natural(theta: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """(c, a[, b]) of draws given around the centre."""
    log_c = theta[:, 0] - theta[:, 1:] @ np.array(centre[: theta.shape[1] - 1])
    return np.column_stack([np.exp(log_c), theta[:, 1:]])
