"""Laws of the hyperparameters: the best learning rate and batch of each size, and power laws through them.

From sweeps (scattered settings, some diverged, several seeds) at several (n_params, n_tokens): the optimum of
each, and lr* and batch* as power laws of N and D, fitted to all runs at once
(`scaling.hparams.loss_surface`). That
extrapolates as well as power laws through the separate optima where sweeps are full grids, and better where
they are sparse. Intervals are of its posterior: resampling cells and runs held too seldom
(`benchmarks/scaling/hparams_transfer.py` measures both).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from scaling.hparams.bowl import Surface
from scaling.hparams.loss_surface import Prior, Surfaces, fit_surfaces
from scaling.hparams.sweeps import AXES, cells, swept
from scaling.profiles.isoflop import nan_to_none, none_to_nan
from scaling.table.runs import Runs

REACH = 2.0  # standard deviation, in log units, of an optimum about the middle of what was tried
# Exponents of N and D before any sweep is seen, mean and standard deviation: weak, and wide enough for what
# is published: lr* N^-0.71 D^0.31 (arXiv 2503.04715), C^-0.13 (2401.02954), D^-0.32 (2409.19913); batch*
# D^0.57 and C^0.33 in the first two; critical batches D^0.47 (2410.21676).
EXPONENTS = {"lr": ((-0.4, 0.3), (0.0, 0.3)), "batch_tokens": ((0.0, 0.3), (0.45, 0.3))}
TOLD_BY_PRIOR = 0.6  # of the prior's standard deviation left: the runs hardly tell the exponent
# A term in log N log D extrapolates badly: it is tried only with so many cells, and kept only where it is so
# many standard deviations off zero. The last is that of its prior.
INTERACTION_CELLS, SUPPORT, INTERACTION_SD = 8, 3.0, 0.3
NOISY = 0.01  # of the loss: more than seeds do
MOST_EXCESS = 100.0  # of log loss: far beyond what any valley tells, and still a number


@dataclass(frozen=True)
class HparamOptimum:
    """The best setting of one cell by its own runs, with intervals; NaN for what was not swept.

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
    """What the laws advise; arrays where the sizes are arrays, NaN for what was not swept.

    The intervals are for the true optimum of that size: the scatter of optima about the law is in.
    penalty: expected loss at this setting / loss at the true optimum - 1, by that doubt and the curvature.
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
    """lr* = c N^a D^b and batch* likewise: a axes, t terms, c cells, n draws.

    Attributes:
      axes: what was swept, of "lr" and "batch_tokens".
      params, ci: of each axis c and the exponents of N and D; "N·D", a term in log N log D about `origin`,
        only where the runs support it. Intervals are at `level`.
      lr_per_batch: (exponent, lo, hi) of the best rate at a batch that is not the best, lr ~ batch^exponent.
        None unless both were swept.
      optima: one a cell. scatter: standard deviation of log optima about the law. noise: of log loss.
      runs: the rows used; `cell` points into optima.
      origin: log n_params and log n_tokens that `law` and `trend` are centred on.
      law [t, a], laws [n, t, a], deviations [n, a] (a new cell's from its law), curvature [a, a],
        curvatures [n, a, a], skew [a, a, a], trend [t - 1], centres [c, a], log_sharpness [c],
        heights [c]: see `scaling.hparams.loss_surface`.
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
        """The setting for new sizes; where `batch_tokens` is given, the best rate at that batch.

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
        x = _design(log_n - self.origin[0], log_d - self.origin[1], len(self.law))
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

    def surface(self, cell: int) -> Surface:
        """The loss around the optimum of a cell, an index into `optima`."""
        sharpness = np.exp(self.log_sharpness[cell])
        shape = sharpness * self.curvature, sharpness * self.skew
        return Surface(self.axes, self.centres[cell], *shape, float(self.heights[cell]))

    def to_json(self) -> dict[str, Any]:
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
        return "\n".join(lines)


_ARRAYS = [f.name for f in fields(HparamLaws) if f.type is np.ndarray]


def fit_hparams(runs: Runs, seed: int = 0, level: float = 0.9, n_draws: int = 1000) -> HparamLaws:
    """The best setting of every cell (runs of equal N and D at three or more settings), and the laws.

    An axis is fitted where a cell has three finished values of it. Diverged runs are left out.

    Raises:
      ValueError: the table has neither lr nor batch_tokens, no cell with three finished settings, or runs
        of several parametrizations.
    """
    if "parametrization" in runs.table and len(set(runs.table["parametrization"])) > 1:
        names = ", ".join(sorted(set(map(str, runs.table["parametrization"]))))
        raise ValueError(f"parametrization is {names}; each has laws of its own: use fit_parametrizations")
    rng = np.random.default_rng(seed)
    runs = swept(runs)
    axes, groups = cells(runs.table)
    logs = [np.log(group[list(axes)].to_numpy()) for group in groups]
    losses = [np.log(group["loss"].to_numpy()) for group in groups]
    sizes = np.log([_size(group) for group in groups])
    origin = sizes.mean(axis=0)
    middle = np.mean([(z.min(axis=0) + z.max(axis=0)) / 2 for z in logs], axis=0)
    apart = _fit(logs, losses, sizes - origin, axes, middle, 1, n_draws, rng)
    together = _fit(logs, losses, sizes - origin, axes, middle, 3, n_draws, rng)
    notes = list(runs.notes)
    if len(groups) >= INTERACTION_CELLS:
        crossed = _fit(logs, losses, sizes - origin, axes, middle, 4, n_draws, rng)
        if np.any(np.abs(crossed.law[3]) > SUPPORT * crossed.laws[:, 3].std(axis=0)):
            together = crossed
            notes.append("the runs support a term in log N log D")
    if apart.noise > NOISY:
        varied = " and ".join(axes)
        notes.append(f"runs are {apart.noise:.1%} off their valleys: is more varied than {varied}?")
    params, ci = _natural(together, axes, origin, level)
    per_batch = None
    if axes == AXES:
        per_batch = _with_ends(_lr_per_batch(apart.curvature), _lr_per_batch(apart.curvatures), level)
    laws = HparamLaws(
        axes=axes,
        params=params,
        ci=ci,
        level=level,
        lr_per_batch=per_batch,
        optima=(),
        scatter=dict(zip(axes, together.scatter.tolist())),
        noise=together.noise,
        notes=(*notes, *_leaning(together, axes)),
        runs=pd.concat([group.assign(cell=i) for i, group in enumerate(groups)], ignore_index=True),
        origin=origin,
        law=together.law,
        laws=together.laws,
        deviations=together.scatters * rng.standard_normal(together.scatters.shape),
        trend=together.trend,
        curvature=apart.curvature,
        curvatures=apart.curvatures,
        skew=apart.skew,
        centres=apart.centre,
        log_sharpness=apart.log_sharpness,
        heights=apart.height,
    )
    optima = [
        _optimum(group, z, laws.surface(i), apart.centres[:, i], level)
        for i, (group, z) in enumerate(zip(groups, logs))
    ]
    return replace(laws, optima=tuple(optima))


def fit_parametrizations(runs: Runs, **options) -> dict[str, HparamLaws]:
    """One `fit_hparams` for each value of the column `parametrization`.

    A rate transfers where its exponent of N is 0; `scaling.hparams.transfer` judges sweeps over widths of
    one budget.

    Raises:
      ValueError: the column is not there, or one of them cannot be fitted.
    """
    if "parametrization" not in runs.table:
        raise ValueError("the table has no column parametrization")
    names = runs.table["parametrization"].astype(str)
    return {
        name: fit_hparams(replace(runs, table=runs.table[(names == name).to_numpy()]), **options)
        for name in sorted(names.unique())
    }


def _fit(
    logs, losses, sizes: np.ndarray, axes, middle: np.ndarray, terms: int, n_draws: int, rng
) -> Surfaces:
    """The surfaces under a law of so many terms; of one: each cell to itself."""
    exponents = np.array([EXPONENTS[axis] for axis in axes])  # [a, N and D, mean and sd]
    ones = np.ones(len(axes))
    mean = np.vstack([middle, exponents[..., 0].T, 0 * ones])[:terms]
    sd = np.vstack([REACH * ones, exponents[..., 1].T, INTERACTION_SD * ones])[:terms]
    prior = Prior(mean, sd, REACH if terms == 1 else None)
    return fit_surfaces(
        list(zip(logs, losses)), _design(sizes[:, 0], sizes[:, 1], terms), prior, n_draws, rng
    )


def _design(log_n: np.ndarray, log_d: np.ndarray, terms: int) -> np.ndarray:
    """[m, terms]: 1, log N, log D and, as a fourth, their product."""
    return np.stack([np.ones_like(log_n), log_n, log_d, log_n * log_d][:terms], axis=-1)


def _leaning(found: Surfaces, axes: tuple[str, ...]) -> list[str]:
    """A note for each exponent that the runs hardly tell."""
    notes = []
    for a, axis in enumerate(axes):
        for i, ((mean, sd), size) in enumerate(zip(EXPONENTS[axis], ("N", "D"))):
            if found.laws[:, 1 + i, a].std() > TOLD_BY_PRIOR * sd:
                notes.append(
                    f"{axis}: the cells hardly tell its exponent of {size}; the prior is {mean} ± {sd}"
                )
    return notes


def _optimum(group: pd.DataFrame, z: np.ndarray, surface: Surface, draws: np.ndarray, level: float):
    """The surface's bottom, or the last value tried before it."""
    first, last = z.min(axis=0), z.max(axis=0)
    best = np.clip(surface.centre, first, last)
    found: dict[str, Any] = {f"{axis}_at_edge": False for axis in ("lr", "batch")}
    for i, axis in enumerate(surface.axes):
        short = axis.removesuffix("_tokens")
        value, lo, hi = (float(np.exp(v)) for v in _with_ends(best[i], draws[:, i], level))
        found |= {axis: value, f"{short}_lo": lo, f"{short}_hi": hi}
        found[f"{short}_at_edge"] = not bool(first[i] < surface.centre[i] < last[i])
    unswept = dict.fromkeys(("lr", "lr_lo", "lr_hi", "batch_tokens", "batch_lo", "batch_hi"), np.nan)
    n_params, n_tokens = _size(group).tolist()
    loss = float(surface.loss(**dict(zip(surface.axes, np.exp(best)))))
    return HparamOptimum(
        **{**unswept, **found}, n_params=n_params, n_tokens=n_tokens, loss=loss, n_runs=len(group)
    )


def _natural(found: Surfaces, axes, origin: np.ndarray, level: float):
    """(params, ci) of the law around `origin`, in units of N and D."""
    both = np.concatenate([found.law[None], found.laws])
    values = np.concatenate([np.exp(both[:, :1] - (origin @ both[:, 1:3])[:, None]), both[:, 1:]], axis=1)
    names: list[str] = ["c", "N", "D", "N·D"][: values.shape[1]]
    ends = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    params = {axis: dict(zip(names, map(float, values[0, :, i]))) for i, axis in enumerate(axes)}
    ci = {
        axis: {k: (float(lo), float(hi)) for k, lo, hi in zip(names, *ends[..., i])}
        for i, axis in enumerate(axes)
    }
    return params, ci


def _size(group: pd.DataFrame) -> np.ndarray:
    """n_params and n_tokens of a cell."""
    return np.median(group[["n_params", "n_tokens"]].to_numpy(), axis=0)


def _at_batch(optimum: np.ndarray, log_batch: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """The lowest point of the valley at a batch [..., m, 2]."""
    log_lr = optimum[..., 0] + _lr_per_batch(curvature) * (log_batch - optimum[..., 1])
    return np.stack(np.broadcast_arrays(log_lr, log_batch), axis=-1)


def _lr_per_batch(curvature: np.ndarray) -> Any:
    """d log lr* / d log batch along the valley's floor."""
    return -curvature[..., 0, 1] / curvature[..., 0, 0]


def _with_ends(value, draws: np.ndarray, level: float) -> tuple[float, float, float]:
    lo, hi = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(value), float(lo), float(hi)
