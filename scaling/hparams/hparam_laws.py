"""Laws of the hyperparameters: the best learning rate and batch as power laws of N and D, with intervals.

`scaling.hparams.fit_hparams` fits them to sweeps.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from scaling.hparams.loss_surface import LossSurface
from scaling.hparams.sweeps import AXES
from scaling.profiles.isoflop import nan_to_none, none_to_nan

MOST_EXCESS = 100.0  # of log loss: far beyond where a loss surface holds, and still a number


@dataclass(frozen=True)
class HparamOptimum:
    """The best setting of one size by its own runs, with intervals; NaN for what was not swept.

    loss: nats per token there. `*_at_edge`: only a bound, the values tried do not bracket the optimum.
    """

    n_params: float
    n_tokens: float
    lr: float
    lr_lo: float
    lr_hi: float
    batch_tokens: float
    batch_lo: float
    batch_hi: float
    loss: float
    lr_at_edge: bool
    batch_at_edge: bool
    n_runs: int


@dataclass(frozen=True)
class Setting:
    """The setting that the laws predict; arrays where the sizes are arrays, NaN for what was not swept.

    The intervals are for the true optimum of that size: they include the scatter of optima about the law.
    penalty: expected loss at this setting / loss at the true optimum - 1, from the uncertainty of the optimum
    and the curvature.
    """

    lr: Any
    lr_lo: Any
    lr_hi: Any
    batch_tokens: Any
    batch_lo: Any
    batch_hi: Any
    penalty: Any


@dataclass(frozen=True, eq=False)
class HparamLaws:
    """lr* = c N^a D^b and batch* likewise: a axes, t terms, c sweeps, n draws.

    Attributes:
      axes: what was swept, of "lr" and "batch_tokens".
      params, ci: of each axis c and the exponents of N and D; "N·D", a term in log N log D about `origin`,
        only where the runs support it. Intervals are at `level`.
      lr_per_batch: (exponent, lo, hi) of the best rate at a batch that is not the best, lr ~ batch^exponent.
        None unless both were swept.
      optima: one a sweep, that is a size. scatter: standard deviation of log optima about the law. noise: of
        log loss.
      runs: the rows used; the column `cell` is the index of their sweep in optima.
      origin: log n_params and log n_tokens that `law` and `trend` are centred on.
      law, laws, deviations, curvature: [t, a], [n, t, a], [n, a] (a new size's from its law), [a, a]; for
        these and those after them see `scaling.hparams.fit_surface`.
      curvatures, skew, trend, centres: [n, a, a], [a, a, a], [t - 1], [c, a].
      log_sharpness, heights: [c], [c].
    """

    axes: tuple[str, ...]
    params: dict[str, dict[str, float]]
    ci: dict[str, dict[str, tuple[float, float]]]
    level: float
    lr_per_batch: tuple[float, float, float] | None
    optima: tuple[HparamOptimum, ...]
    scatter: dict[str, float]
    noise: float
    notes: tuple[str, ...]
    runs: pd.DataFrame
    origin: np.ndarray
    law: np.ndarray
    laws: np.ndarray
    deviations: np.ndarray
    curvature: np.ndarray
    curvatures: np.ndarray
    skew: np.ndarray
    trend: np.ndarray
    centres: np.ndarray
    log_sharpness: np.ndarray
    heights: np.ndarray

    def predict(self, n_params, n_tokens, batch_tokens=None) -> Setting:
        """The best setting for new sizes; where `batch_tokens` is given, the best rate at that batch.

        Raises:
          ValueError: a value is not positive and finite, or a batch is given and not both axes were swept.
        """
        if batch_tokens is not None and self.axes != AXES:
            raise ValueError(
                f"batch_tokens={batch_tokens}: only {self.axes[0]} was swept, which does not tell how the "
                "best rate goes with the batch; leave it out"
            )
        given = {"n_params": n_params, "n_tokens": n_tokens}
        given |= {} if batch_tokens is None else {"batch_tokens": batch_tokens}
        for name, value in given.items():
            if not np.all(np.isfinite(value) & (np.asarray(value) > 0)):
                raise ValueError(f"{name}={value}; it must be positive and finite")
        sizes = np.broadcast_arrays(*(np.log(np.asarray(value, float)) for value in given.values()))
        log_n, log_d, *log_batch = (size.ravel() for size in sizes)
        x = design_rows(log_n - self.origin[0], log_d - self.origin[1], len(self.law))
        best = x @ self.law
        optima = np.einsum("mt,nta->nma", x, self.laws) + self.deviations[:, None]
        advised, drawn = best, optima
        if log_batch:
            advised = _at_batch(best, log_batch[0], self.curvature)
            drawn = _at_batch(optima, log_batch[0], self.curvatures[:, None])
        away = advised - optima
        excess = np.exp(x[:, 1:] @ self.trend) * np.einsum("nmi,ij,nmj->nm", away, self.curvature, away) / 2
        lo, hi = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2], axis=0)
        penalty = np.expm1(np.minimum(np.mean(excess, axis=0), MOST_EXCESS))
        found = [np.full(len(x), np.nan)] * 6 + [penalty]
        for i, axis in enumerate(self.axes):
            at = 3 * AXES.index(axis)
            found[at : at + 3] = np.exp([advised[:, i], lo[:, i], hi[:, i]])
        return Setting(*(v.reshape(sizes[0].shape) if sizes[0].ndim else float(v[0]) for v in found))

    def surface(self, sweep: int) -> LossSurface:
        """The loss around the optimum of a sweep, an index into `optima`."""
        sharpness = np.exp(self.log_sharpness[sweep])
        shape = sharpness * self.curvature, sharpness * self.skew
        return LossSurface(self.axes, self.centres[sweep], *shape, float(self.heights[sweep]))

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content |= {name: content[name].tolist() for name in _ARRAYS}
        optima = [nan_to_none(asdict(optimum)) for optimum in self.optima]
        return content | {"optima": optima, "runs": self.runs.to_dict("list")}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "HparamLaws":
        """Raises ValueError where a key is missing."""
        try:
            per_batch = content["lr_per_batch"]
            ci = {axis: {k: tuple(v) for k, v in ends.items()} for axis, ends in content["ci"].items()}
            known = {
                **{f.name: content[f.name] for f in fields(HparamLaws)},
                **{name: np.asarray(content[name], float) for name in _ARRAYS},
                "axes": tuple(content["axes"]),
                "ci": ci,
                "lr_per_batch": None if per_batch is None else tuple(per_batch),
                "optima": tuple(HparamOptimum(**none_to_nan(optimum)) for optimum in content["optima"]),
                "notes": tuple(content["notes"]),
                "runs": pd.DataFrame(content["runs"]),
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not laws of hyperparameters as isoflop writes them ({error!r})") from error
        return HparamLaws(**known)

    @property
    def by_tokens(self) -> tuple[float, float, float]:
        """The exponent of D in the best rate at one batch, with its interval; NaN unless both were swept.

        `params` has that at the best batch, which grows with D. Published laws of opposite signs are of
        either: D^0.31 at the best batch (arXiv 2503.04715), D^-0.32 at one (2409.19913).
        """
        if self.axes != AXES:
            return np.nan, np.nan, np.nan
        value = self.law[2, 0] - lr_per_batch(self.curvature) * self.law[2, 1]
        drawn = self.laws[:, 2, 0] - lr_per_batch(self.curvatures) * self.laws[:, 2, 1]
        lo, hi = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(value), float(lo), float(hi)

    @property
    def formulas(self) -> dict[str, str]:
        """By axis, for example "lr = 2.5 · N^-0.67 · D^0.24"."""
        return {
            axis: f"{axis} = {p['c']:.3g} · N^{p['N']:.3f} · D^{p['D']:.3f}"
            + (f" · exp({p['N·D']:.3f} ln(N/N0) ln(D/D0))" if "N·D" in p else "")
            for axis, p in self.params.items()
        }

    def __str__(self) -> str:
        lines = []
        for axis, formula in self.formulas.items():
            ends = ", ".join(f"{k} [{lo:.3f}, {hi:.3f}]" for k, (lo, hi) in self.ci[axis].items() if k != "c")
            lines.append(f"{formula}   ({self.level:.0%} intervals: {ends})")
        scatter = " and ".join(f"{100 * value:.0f}% ({axis})" for axis, value in self.scatter.items())
        lines.append(f"optima scatter by {scatter} about the law; noise {100 * self.noise:.2f}% of the loss")
        if self.lr_per_batch:
            exponent, lo, hi = self.lr_per_batch
            lines.append(f"at another batch than the best: lr ~ batch^{exponent:.2f} [{lo:.2f}, {hi:.2f}]")
            value, lo, hi = self.by_tokens
            best = (self.params["lr"]["D"], *self.ci["lr"]["D"])
            lines.append(
                "with more tokens: lr ~ D^{:.2f} [{:.2f}, {:.2f}] at the best batch, ".format(*best)
                + f"D^{value:.2f} [{lo:.2f}, {hi:.2f}] at one batch"
            )
        return "\n".join(lines)


_ARRAYS = [f.name for f in fields(HparamLaws) if f.type is np.ndarray]


def design_rows(log_n: np.ndarray, log_d: np.ndarray, terms: int) -> np.ndarray:
    """The regressors of a law [m, terms]: 1, log N, log D and, as a fourth, their product."""
    return np.stack([np.ones_like(log_n), log_n, log_d, log_n * log_d][:terms], axis=-1)


def _at_batch(optimum: np.ndarray, log_batch: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """The optimum [..., m, 2] under a given batch: (log lr, log batch)."""
    log_lr = optimum[..., 0] + lr_per_batch(curvature) * (log_batch - optimum[..., 1])
    return np.stack(np.broadcast_arrays(log_lr, log_batch), axis=-1)


def lr_per_batch(curvature: np.ndarray) -> Any:
    """d log lr* / d log batch where the batch is given, from the curvature [..., 2, 2]."""
    return -curvature[..., 0, 1] / curvature[..., 0, 0]
