"""Fits the laws of the hyperparameters: the optimum of every sweep, and power laws through the optima.

From sweeps (scattered settings, some diverged, several seeds) at several (n_params, n_tokens): the optimum of
each, and lr* and batch* as power laws of N and D, fitted to all runs at once (`scaling.hparams.fit_surface`).
That extrapolates as well as power laws through the separate optima where sweeps are full grids, and better
where they are sparse. Intervals are of its posterior: resampling sweeps and runs covered too seldom
(`benchmarks/scaling/hparams_transfer.py` measures both).
"""

from typing import Any

import numpy as np
import pandas as pd

from scaling.hparams.fit_surface import FittedSurfaces, LawPrior, fit_surfaces
from scaling.hparams.hparam_laws import HparamLaws, HparamOptimum, design_rows, lr_per_batch
from scaling.hparams.sweep_optima import REACH, SweepOptimum, sweep_centre, sweep_optima
from scaling.hparams.sweeps import AXES, apart, check_apart, find_sweeps, swept
from scaling.table.runs import Runs

# Exponents of N and D before any sweep is seen, mean and standard deviation: weak, and wide enough for what
# is published: lr* N^-0.71 D^0.31 (arXiv 2503.04715), C^-0.13 (2401.02954), D^-0.32 (2409.19913); batch*
# D^0.57 and C^0.33 in the first two; critical batches D^0.47 (2410.21676).
EXPONENTS = {"lr": ((-0.4, 0.3), (0.0, 0.3)), "batch_tokens": ((0.0, 0.3), (0.45, 0.3))}
WEAKLY_INFORMED = 0.6  # of the prior's standard deviation is left: the data hardly inform the exponent
# A term in log N log D extrapolates badly: it is tried only with so many sweeps, and kept only where it is so
# many standard deviations off zero. The last is that of its prior.
INTERACTION_SWEEPS, SUPPORT, INTERACTION_SD = 8, 3.0, 0.3
NOISY = 0.01  # of the loss: more than seeds do


def fit_hparams(runs: Runs, seed: int = 0, level: float = 0.9, n_draws: int = 1000) -> HparamLaws:
    """The best setting of every sweep (runs of equal N and D at three or more settings), and the laws.

    An axis is fitted where a sweep has three finished values of it. Diverged runs are left out.

    Args:
      runs: n_params, n_tokens, loss, and lr, batch_tokens (tokens) or both, a row a run.
      seed: of the draws. level: of the intervals. n_draws: of the posterior.

    Raises:
      ValueError: the table has neither lr nor batch_tokens, no sweep with three finished settings,
        sweeps in which no loss differs, or runs of several parametrizations, optimizers, schedules or
        families.
    """
    check_apart(runs)
    rng = np.random.default_rng(seed)
    runs = swept(runs)
    axes, groups = find_sweeps(runs.table)
    if all(np.ptp(group["loss"]) == 0 for group in groups):
        raise ValueError(
            f"in every sweep all losses are equal (in the first {groups[0]['loss'].iloc[0]:.6g}): no setting "
            "is better than another; is the column a loss?"
        )
    sweeps = [(np.log(group[list(axes)].to_numpy()), np.log(group["loss"].to_numpy())) for group in groups]
    sizes = np.log([_size(group) for group in groups])
    origin = sizes.mean(axis=0)
    optima, alone = sweep_optima(sweeps, level, n_draws, rng)
    together = _fit(sweeps, sizes - origin, axes, 3, n_draws, rng)
    notes = list(runs.notes)
    if len(groups) >= INTERACTION_SWEEPS:
        crossed = _fit(sweeps, sizes - origin, axes, 4, n_draws, rng)
        if np.any(np.abs(crossed.law[3]) > SUPPORT * crossed.laws[:, 3].std(axis=0)):
            together = crossed
            notes.append("the runs support a term in log N log D")
    if alone.noise > NOISY:
        varied = " and ".join(axes)
        scatter = f"runs scatter by {alone.noise:.1%} about their loss surfaces"
        notes.append(f"{scatter}: is more varied than {varied}?")
    params, ci = _natural(together, axes, origin, level)
    per_batch = None
    if axes == AXES:
        per_batch = _with_interval(lr_per_batch(alone.curvature), lr_per_batch(alone.curvatures), level)
    return HparamLaws(
        axes=axes,
        params=params,
        ci=ci,
        level=level,
        lr_per_batch=per_batch,
        optima=tuple(_optimum(group, axes, found) for group, found in zip(groups, optima)),
        scatter=dict(zip(axes, together.scatter.tolist())),
        noise=together.noise,
        notes=(*notes, *_uninformed(together, axes)),
        runs=pd.concat([group.assign(cell=i) for i, group in enumerate(groups)], ignore_index=True),
        origin=origin,
        law=together.law,
        laws=together.laws,
        deviations=together.scatters * rng.standard_normal(together.scatters.shape),
        trend=together.trend,
        curvature=alone.curvature,
        curvatures=alone.curvatures,
        skew=alone.skew,
        centres=alone.centre,
        log_sharpness=alone.log_sharpness,
        heights=alone.height,
    )


def fit_groups(runs: Runs, **options) -> tuple[str, dict[str, HparamLaws]]:
    """(what tells the groups apart, one `fit_hparams` for each: see `scaling.hparams.sweeps.apart`).

    A rate transfers where its exponent of N is 0; `scaling.hparams.transfer` judges sweeps over widths of
    one budget.

    Raises:
      ValueError: one of them cannot be fitted.
    """
    columns, groups = apart(runs)
    laws = {}
    for name, own in groups.items():
        try:
            laws[name] = fit_hparams(own, **options)
        except ValueError as error:
            raise ValueError(f"{', '.join(columns)} {name}: {error}" if name else str(error)) from error
    return ", ".join(columns), laws


def _fit(sweeps, sizes: np.ndarray, axes, terms: int, n_draws: int, rng) -> FittedSurfaces:
    """The surfaces under a law of so many terms."""
    exponents = np.array([EXPONENTS[axis] for axis in axes])  # [a, N and D, mean and sd]
    ones = np.ones(len(axes))
    mean = np.vstack([sweep_centre(sweeps), exponents[..., 0].T, 0 * ones])[:terms]
    sd = np.vstack([REACH * ones, exponents[..., 1].T, INTERACTION_SD * ones])[:terms]
    return fit_surfaces(
        sweeps, design_rows(sizes[:, 0], sizes[:, 1], terms), LawPrior(mean, sd), n_draws, rng
    )


def _uninformed(found: FittedSurfaces, axes: tuple[str, ...]) -> list[str]:
    """A note for each exponent that the data hardly inform."""
    notes = []
    for a, axis in enumerate(axes):
        for i, ((mean, sd), size) in enumerate(zip(EXPONENTS[axis], ("N", "D"))):
            if found.laws[:, 1 + i, a].std() > WEAKLY_INFORMED * sd:
                notes.append(
                    f"{axis}: the sweeps hardly inform its exponent of {size}; the prior is {mean} ± {sd}"
                )
    return notes


def _optimum(group: pd.DataFrame, axes: tuple[str, ...], optimum: SweepOptimum) -> HparamOptimum:
    """A sweep's optimum in units, by name; NaN for what was not swept."""
    found: dict[str, Any] = {f"{axis}_at_edge": False for axis in ("lr", "batch")}
    for i, axis in enumerate(axes):
        short = axis.removesuffix("_tokens")
        value, lo, hi = (float(np.exp(end[i])) for end in (optimum.setting, optimum.lo, optimum.hi))
        found |= {axis: value, f"{short}_lo": lo, f"{short}_hi": hi}
        found[f"{short}_at_edge"] = bool(optimum.at_edge[i])
    unswept = dict.fromkeys(("lr", "lr_lo", "lr_hi", "batch_tokens", "batch_lo", "batch_hi"), np.nan)
    n_params, n_tokens = _size(group).tolist()
    return HparamOptimum(
        **{**unswept, **found},
        n_params=n_params,
        n_tokens=n_tokens,
        loss=float(np.exp(optimum.log_loss)),
        n_runs=len(group),
    )


def _natural(found: FittedSurfaces, axes, origin: np.ndarray, level: float):
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
    """n_params and n_tokens of a sweep [2]."""
    return np.median(group[["n_params", "n_tokens"]].to_numpy(), axis=0)


def _with_interval(value, draws: np.ndarray, level: float) -> tuple[float, float, float]:
    lo, hi = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(value), float(lo), float(hi)
