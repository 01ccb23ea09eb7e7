"""Fitting a law to a table of runs: parameters with intervals, the frontier's exponents, and the forecast."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.diagnostics import Diagnostics, diagnose, resampled
from scaling.fitting.doubts import design_doubts
from scaling.fitting.forms import mixed
from scaling.fitting.reach import evidence
from scaling.fitting.result import Fit
from scaling.fitting.solver import ROUGH, Problems, Solution, best_of_starts, solve
from scaling.fitting.uncertainty import forecast, resample
from scaling.laws import Law
from scaling.profiles import isoflop
from scaling.profiles.envelope import envelope
from scaling.table.flops_per_token import FlopsPerToken, flops_per_token
from scaling.table.runs import Runs, UsableRuns, read_runs
from scaling.table.table_checks import unmodelled

APPROACHES = (1, 2, 3)
MOST_RESAMPLES = 100_000
MANY_RUNS = 10_000  # from here on resamples are approximated to first order, see `resampled`
UNDETERMINED = 1e7  # condition number of the slopes, from where on some parameters may have any value


def fit(
    runs: Runs | pd.DataFrame,
    law: str = "chinchilla",
    approach: int = 3,
    n_bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.9,
    delta: float = 1e-3,
    relax: bool = True,
) -> Fit:
    """Fits a law to the finished runs of a table (of a study: to its grid).

    The parameters minimise the summed Huber loss of log loss, Hoffmann et al. 2022 (arXiv 2203.15556),
    appendix D.3, and carry no prior: they are what others report. Forecasts have one.

    Args:
      runs: the table; those that are finished and, of a study, in its grid are used (`Runs.usable`). A data
        frame is checked as a file is (`read_runs`).
      law: a name that `laws.find` knows.
      approach: 3 takes the frontier's exponents from the law, 2 from the minima of IsoFLOP profiles, 1 from
        the envelope of the runs.
      n_bootstrap: resamples of the runs behind the intervals; 0 gives values without intervals.
      seed: of the resampling; level: of the intervals, between 0 and 1.
      delta: in log loss, where the Huber loss turns from square to linear.
      relax: forecast with the law's relaxed form, which extrapolates better on published tables; without it
        with the law itself: fewer parameters, less sure near the runs; for runs near the frontier. Either is
        mixed with the forms beside the law (scaling/fitting/forms.py).

    Raises:
      ValueError: unknown law or approach, a setting out of range, or too few usable runs.
    """
    _check(approach, n_bootstrap, level, delta)
    form = laws.find(law)
    if not isinstance(runs, Runs):
        runs = read_runs(runs, needed=(*form.columns, form.target))
    usable = runs.usable(form.target, form.columns, form.positive)
    _refuse_few(form, usable)
    rng = np.random.default_rng(seed)
    x, y, units = in_units(form, usable.table)
    run = usable.run_numbers

    from_starts, draws = _free_fit(form, x, y, run, n_bootstrap, delta, rng)
    solution = best_of_starts(from_starts, len(from_starts.theta))
    found = diagnose(form, x, y, run, delta, from_starts)
    params = dict(zip(form.params, map(float, form.unscale(solution.theta[0], units))))
    samples = form.unscale(draws, units)
    profiles = _profiles(usable, form, approach, n_bootstrap, seed, level)
    exponents, exponents_ci = _exponents(form, params, samples, level)
    if approach == 1:
        exponents, exponents_ci = _of_envelope(usable, n_bootstrap, seed, level)
    elif approach == 2 and profiles:
        exponents, exponents_ci = _of_profiles(profiles)
    relaxed = form.relaxed if relax and form.relaxed else form
    known = forecast(relaxed, x, y, units, n_bootstrap, rng)
    return Fit(
        law=law,
        approach=approach,
        params=params,
        ci=_interval(form.params, samples, level),
        level=level,
        samples=samples,
        exponents=exponents,
        exponents_ci=exponents_ci,
        n_points=len(usable.table),
        dropped=usable.dropped,
        objective=float(solution.objective[0]),
        delta=delta,
        forecast=known,
        forms=mixed(known, form.beside, x, y) if form.beside else None,
        profiles=profiles,
        status=_status(form, solution, found, int(run.max()) + 1),
        diagnostics=found,
        notes=(*usable.notes, *unmodelled(usable.table, form.columns, form.target)),
        conventions={k: v for k, v in usable.conventions.items() if k != "ladder"} | dict(form.conventions),
        evidence=evidence({n: usable.table[n].to_numpy(float) for n in form.columns if n in form.positive}),
        flops_per_token=cost_of(usable, form),
        n_runs=int(run.max()) + 1,
        unfit=usable.unfit,
        design=tuple(
            design_doubts(form, {name: usable.table[name].to_numpy(float) for name in form.columns})
        ),
    )


def held_out(fit: Fit, runs: Runs) -> Fit:
    """The fit with its errors on runs that it has not seen: relative, and the share inside the interval."""
    law = laws.find(fit.law)
    table = replace(runs, keep_all=True).usable(law.target, law.columns).table
    if table.empty:
        raise ValueError("no finished run is held out; mark some, or leave --holdout away")
    found = fit.predict(**{name: table[name].to_numpy(float) for name in law.columns})
    loss = table[law.target].to_numpy(float)
    errors = np.asarray(found.loss) / loss - 1
    summary = {
        "n": len(table),
        "median_abs_error": float(np.median(np.abs(errors))),
        "mean_error": float(errors.mean()),
    }
    if len(fit.forecast.samples):
        inside = (found.lo <= loss) & (loss <= found.hi)
        half = float(np.median((np.asarray(found.hi) - found.lo) / 2 / np.asarray(found.loss)))
        summary |= {"coverage": float(inside.mean()), "median_half_width": half}
    return replace(fit, holdout=summary)


def in_units(law: Law, table: pd.DataFrame) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, float]]:
    """(columns, target, units): what the solver takes, in units of the data; see `Law`."""
    columns = {name: table[name].to_numpy(float) for name in law.columns}
    target = table[law.target].to_numpy(float)
    units = {
        n: 1.0 if n in law.dimensionless else float(np.exp(np.log(v).mean())) for n, v in columns.items()
    }
    units |= {name: units[other] for name, other in law.same_unit}
    units[law.target] = float(target.min()) if law.scale == "log" else 1.0
    x = {name: value / units[name] for name, value in columns.items()}
    return x, np.log(target / units[law.target]) if law.scale == "log" else target, units


def _check(approach: int, n_bootstrap: int, level: float, delta: float) -> None:
    if approach not in APPROACHES:
        raise ValueError(
            f"approach={approach}; allowed are 1 (envelope), 2 (IsoFLOP profiles) and 3 (the law itself)"
        )
    if not 0 <= n_bootstrap <= MOST_RESAMPLES:  # all are solved at once
        raise ValueError(f"n_bootstrap={n_bootstrap}; it must be 0 to {MOST_RESAMPLES:,}")
    check_level(level)
    if not 0 < delta < math.inf:
        raise ValueError(f"delta={delta}; it must be positive and finite, for example 1e-3")


def check_level(level: float) -> None:
    """Refuses a level that no interval has.

    Raises:
      ValueError: it does not lie between 0 and 1, or next to one of them, where an interval is a point or
        everything.
    """
    if not 1e-6 < level < 1 - 1e-6:
        raise ValueError(f"level={level}; it must lie between 0 and 1, for example 0.9")


def _refuse_few(law: Law, usable: UsableRuns) -> None:
    needed = len(law.params) + 1
    distinct = len(usable.table.drop_duplicates(list(law.columns)))
    if distinct < needed:
        lost = [note for note in usable.notes if "left out" in note or "dropped" in note]
        why = f"; {lost[-1]}" if lost else ""
        raise ValueError(
            f"{law.name} has {len(law.params)} parameters and needs {needed} different runs, not "
            f"{distinct}{why}"
        )


def _free_fit(
    law: Law, x: Mapping[str, np.ndarray], y: np.ndarray, run: np.ndarray, n_bootstrap: int, delta: float, rng
) -> tuple[Solution, np.ndarray]:
    """The solution from every start point, and optima of resampled runs [n_bootstrap, params]."""
    none = np.zeros((1, len(law.params)))
    problems = Problems(y[None], np.ones((1, len(y))), np.array([delta]), none, none)
    solution = solve(law, x, problems, np.array(law.starts))
    if n_bootstrap == 0:
        return solution, np.zeros((0, len(law.params)))
    theta = best_of_starts(solution, len(solution.theta)).theta
    if run.max() >= MANY_RUNS:
        return solution, resampled(law, x, y, theta[0], delta, run, n_bootstrap, rng)
    problems = problems._replace(weight=resample(run, n_bootstrap, rng))
    return solution, solve(law, x, problems, np.repeat(theta, n_bootstrap, axis=0), ROUGH).theta


def _profiles(
    usable: UsableRuns, law: Law, approach: int, n_bootstrap: int, seed: int, level: float
) -> isoflop.Profiles | None:
    if law.target != "loss" or not {"n_params", "n_tokens"} <= set(law.columns):
        return None
    if approach == 3 and not isoflop.budgets(usable.table):
        return None
    profiles = isoflop.profiles(usable, n_bootstrap, seed, level)
    if approach == 2 and profiles.n_params is None:
        raise ValueError(
            "approach 2: fewer than two budgets have their minimum inside the sizes tried; add sizes"
        )
    return profiles


def _of_profiles(profiles: isoflop.Profiles):
    """N* ~ C^a and D* ~ C^b through the minima."""
    laws_of_c = {"a": profiles.n_params, "b": profiles.n_tokens}
    found = {name: law for name, law in laws_of_c.items() if law}
    ends = {name: (law.lo, law.hi) for name, law in found.items()}
    return {name: law.exponent for name, law in found.items()}, ends


def _of_envelope(usable: UsableRuns, n_bootstrap: int, seed: int, level: float):
    """N* ~ C^a and, at 6ND FLOPs, D* ~ C^(1 - a)."""
    found = envelope(usable, n_bootstrap, seed, level)
    if found is None:
        raise ValueError("approach 1: fewer than three sizes are the best at any compute; add sizes")
    a = found.exponent
    ends = {"a": (found.lo, found.hi), "b": (1 - found.hi, 1 - found.lo)} if np.isfinite(found.lo) else {}
    return {"a": a, "b": 1 - a}, ends


def cost_of(usable: UsableRuns, law: Law) -> FlopsPerToken | None:
    """What a token costs; None for 6·N, and where the law has no sizes and tokens to spend FLOPs on."""
    if law.size is None or law.idle_params or not {"n_tokens", "flops"} <= set(usable.table):
        return None
    return flops_per_token(usable, law.size) if "n_tokens" in law.columns else None


def _exponents(law: Law, params: dict[str, float], samples: np.ndarray, level: float):
    """a of N* ~ C^a and b = 1 - a, where the law has a formula of them: (values, intervals)."""
    if law.size_exponent is None:
        return {}, {}
    a = law.size_exponent(np.vstack([list(params.values()), samples]))
    ends = _interval(("a", "b"), np.stack([a[1:], 1 - a[1:]], -1), level)
    return {"a": float(a[0]), "b": float(1 - a[0])}, ends


def _interval(names, samples: np.ndarray, level: float) -> dict[str, tuple[float, float]]:
    if not len(samples):
        return {}
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(ends[0, i]), float(ends[1, i])) for i, name in enumerate(names)}


def _status(law: Law, solution: Solution, found: Diagnostics, n_runs: int) -> str:
    """ "converged", or the reason not to trust the parameters."""
    if not solution.converged[0]:
        return "NOT CONVERGED: the runs may not determine the law; add sizes or budgets"
    if found.at_bounds:
        return f"AT A BOUND: {', '.join(found.at_bounds)}; the runs do not determine it, add larger budgets"
    if found.condition > UNDETERMINED:
        why = found.flat[0] if found.flat else "some parameters change together without changing the fit"
        return f"NOT DETERMINED: {why}; add sizes or budgets"
    if n_runs <= len(law.params):
        return f"FEW RUNS: {n_runs} for {len(law.params)} parameters; intervals are too narrow, add runs"
    return "converged"
