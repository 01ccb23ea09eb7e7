"""Approach 2: IsoFLOP profiles, the best size at each budget, and the power laws through those.

Hoffmann et al. 2022 (arXiv 2203.15556), section 3.2: at equal compute the loss is near a parabola in log N.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from scaling.profiles.parabola import Parabola, fit_parabolas
from scaling.table.runs import UsableRuns

SAME_BUDGET = 1.12  # neighbouring FLOPs this close belong to one budget …
BUDGET_WIDTH = 1.3  # … which spans no more than this ratio
MIN_SIZES = 3


@dataclass(frozen=True)
class Minimum:
    """The best size at one budget; lo and hi are its interval. `at_edge`: only a bound, others may be better.

    curve: log loss as a polynomial of log n_params, highest power first.
    """

    flops: float
    n_params: float
    n_tokens: float
    loss: float
    n_params_lo: float
    n_params_hi: float
    at_edge: bool
    curve: tuple[float, ...]


@dataclass(frozen=True)
class PowerLaw:
    """coefficient * flops^exponent, with the exponent's interval."""

    coefficient: float
    exponent: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Profiles:
    """Minima by budget, and the power laws through those that are not at an edge (None with fewer than two).

    `loss` is a power law of the loss itself: its exponent falls as the irreducible loss comes near.
    """

    minima: tuple[Minimum, ...]
    n_params: PowerLaw | None
    n_tokens: PowerLaw | None
    loss: PowerLaw | None
    level: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; an end of an interval that is not known is None."""
        minima = [nan_to_none(asdict(minimum)) for minimum in self.minima]
        content: dict[str, Any] = {"minima": minima, "level": self.level}
        for name in ("n_params", "n_tokens", "loss"):
            law = getattr(self, name)
            content[name] = asdict(law) if law else None
        if self.n_params and self.n_tokens:
            a, b = self.n_params, self.n_tokens
            content |= {"a": a.exponent, "b": b.exponent, "ci": {"a": [a.lo, a.hi], "b": [b.lo, b.hi]}}
        return content

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Profiles":
        minima = tuple(Minimum(**none_to_nan({**m, "curve": tuple(m["curve"])})) for m in content["minima"])
        n, d, loss = (
            PowerLaw(**content[k]) if content[k] else None for k in ("n_params", "n_tokens", "loss")
        )
        return Profiles(minima, n, d, loss, content["level"])


def nan_to_none(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if value != value else value for name, value in fields.items()}


def none_to_nan(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in fields.items()}


def profiles(usable: UsableRuns, n_bootstrap: int = 1000, seed: int = 0, level: float = 0.9) -> Profiles:
    """Fits a parabola to each budget of a table that has budgets (several sizes at equal FLOPs).

    Args:
      usable: rows with flops, n_params, n_tokens and loss.
      n_bootstrap: draws behind the intervals, at least 200; seed: of them; level: of the intervals.

    Raises:
      ValueError: no budget has three sizes.
    """
    table = usable.table
    grouped = budgets(table)
    if not grouped:
        raise ValueError(
            f"no budget has {MIN_SIZES} sizes among {len(table)} runs; profiles need sizes at equal flops"
        )
    groups = [(np.log(g["n_params"].to_numpy()), np.log(g["loss"].to_numpy())) for g in grouped]
    found = fit_parabolas(groups, max(n_bootstrap, 200), np.random.default_rng(seed))
    minima = tuple(_minimum(group, parabola, level) for group, parabola in zip(grouped, found))
    tokens = [_tokens_at(group, parabola) for group, parabola in zip(grouped, found)]
    inside = [i for i, minimum in enumerate(minima) if not minimum.at_edge]
    if len(inside) < 2:
        return Profiles(minima, None, None, None, level)
    log_c = np.log([minima[i].flops for i in inside])
    center = [(found[i].log_x, tokens[i][0], found[i].log_loss) for i in inside]
    draws = [(found[i].draws, tokens[i][1], found[i].loss_draws) for i in inside]
    n, d, loss = (_power_law(log_c, [c[k] for c in center], [x[k] for x in draws], level) for k in range(3))
    return Profiles(minima, n, d, loss, level)


def budgets(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each budget with enough sizes, in order of FLOPs."""
    ordered = table.sort_values("flops", kind="stable")
    flops = ordered["flops"].to_numpy()
    label = np.concatenate([[0], np.cumsum(flops[1:] / flops[:-1] > SAME_BUDGET)])
    groups = [group for _, group in ordered.groupby(label)]
    return [g for g in groups if np.unique(g["n_params"]).size >= MIN_SIZES and _width(g) <= BUDGET_WIDTH]


def _width(group: pd.DataFrame) -> float:
    flops = group["flops"].to_numpy()
    return float(flops.max() / flops.min())


def _minimum(group: pd.DataFrame, parabola: Parabola, level: float) -> Minimum:
    tail = (1 - level) / 2
    known = parabola.draws[np.isfinite(parabola.draws)]
    lo, hi = np.exp(np.quantile(known, [tail, 1 - tail])) if len(known) else (np.nan, np.nan)
    return Minimum(
        flops=float(np.exp(np.log(group["flops"]).mean())),
        n_params=float(np.exp(parabola.log_x)),
        n_tokens=float(np.exp(_tokens_at(group, parabola)[0])),
        loss=float(np.exp(parabola.log_loss)),
        n_params_lo=float(lo),
        n_params_hi=float(hi),
        at_edge=bool(parabola.at_edge),
        curve=parabola.curve,
    )


def _tokens_at(group: pd.DataFrame, parabola: Parabola) -> tuple[float, np.ndarray]:
    """log n_tokens at the minimum and at its draws, from the line through log tokens against log sizes."""
    log_n, log_d = np.log(group["n_params"]), np.log(group["n_tokens"])
    line = np.polyfit(log_n, log_d, 1)
    return float(np.polyval(line, parabola.log_x)), np.polyval(line, parabola.draws)


def _power_law(
    log_c: np.ndarray, center: Sequence[float], draws: Sequence[np.ndarray], level: float
) -> PowerLaw:
    """Weighted by the spread of the draws and by how far minima lie from the line beyond it (the moment
    estimate of DerSimonian and Laird 1986); the interval has both."""
    y = np.asarray(center)
    spread = np.maximum([np.subtract(*np.nanquantile(d, [0.84, 0.16])) / 2 for d in draws], 1e-6)
    design = np.stack([log_c, np.ones_like(log_c)], axis=1)
    excess = _excess_variance(design, y, 1 / spread**2)
    weight = 1 / (spread**2 + excess)
    covariance = np.linalg.inv(design.T @ (design * weight[:, None]))
    slope, height = covariance @ design.T @ (weight * y)
    middle = (1 + level) / 2
    half = special.ndtri(middle) if len(y) < 3 else special.stdtrit(len(y) - 2, middle)
    half *= np.sqrt(covariance[0, 0])
    return PowerLaw(float(np.exp(height)), float(slope), float(slope - half), float(slope + half))


def _excess_variance(design: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """Variance of y about a line beyond what 1 / weight explains."""
    if len(y) < 3:
        return 0.0
    inverse = np.linalg.inv(design.T @ (design * weight[:, None]))
    left = y - design @ (inverse @ design.T @ (weight * y))
    leverage = np.sum(weight**2 * np.sum((design @ inverse) * design, axis=1))
    return max(0.0, float((weight @ left**2 - (len(y) - 2)) / (weight.sum() - leverage)))
