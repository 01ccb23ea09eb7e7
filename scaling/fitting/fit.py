"""Fitting a law to a table of runs: parameters with intervals, the frontier's exponents, and forecasts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting import uncertainty
from scaling.fitting.diagnostics import Diagnostics, diagnose
from scaling.fitting.influence import resampled
from scaling.fitting.solver import ROUGH, Problems, Solution, best, solve
from scaling.fitting.uncertainty import Forecast
from scaling.laws import CHINCHILLA, Law
from scaling.profiles import isoflop
from scaling.profiles.envelope import envelope
from scaling.table.runs import Runs

APPROACHES = (1, 2, 3)
MANY_RUNS = 10_000  # from here on resamples are told to first order, see scaling/fitting/influence.py
UNDETERMINED = 1e7  # condition number of the slopes, from where on some parameters may have any value


class Prediction(NamedTuple):
    """The law's target (for most, loss in nats per token), and the interval for one new run's interval.

    The interval is NaN without draws."""

    loss: Any
    lo: Any
    hi: Any


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted law.

    Attributes:
      params, ci: its parameters (nats, parameters, tokens) and their intervals at `level`.
      samples: bootstrap draws of the parameters [draws, params].
      exponents: optimal N grows as C^a, D as C^b (by the law's formula, or by profile minima with
        approach 2); `exponents_ci` their intervals. Empty where the law has no such formula.
      objective: summed Huber loss of log loss at `params`; delta: where it turns linear.
      forecast: what predictions are made with; see scaling/fitting/uncertainty.py.
      profiles: approach 2 on the same runs, None where the table has no budgets.
      diagnostics: what the runs leave open, and which of them decide.
      status: "converged", or what is wrong and what to do; notes: rows left out and other remarks.
      holdout: errors on runs that were held out, if any.
    """

    law: str
    approach: int
    params: dict[str, float]
    ci: dict[str, tuple[float, float]]
    level: float
    samples: np.ndarray
    exponents: dict[str, float]
    exponents_ci: dict[str, tuple[float, float]]
    n_points: int
    dropped: int
    objective: float
    delta: float
    forecast: Forecast
    profiles: isoflop.Profiles | None
    status: str
    notes: tuple[str, ...]
    conventions: dict[str, Any]
    holdout: dict[str, float] = field(default_factory=dict)
    diagnostics: Diagnostics | None = None

    def predict(self, n_params=None, n_tokens=None, **columns) -> Prediction:
        """The target of new runs, from the columns that the law reads; scalars, or arrays that broadcast.

        It comes from the law's relaxed form, unless the fit was made without (`relax`), and what that is off
        by (scaling/fitting/uncertainty.py); the interval holds run-to-run noise too.

        Raises:
          ValueError: a column is missing, or a value is not positive (a column that is never rescaled may
            be anything).
        """
        law = laws.find(self.forecast.law)
        given = {"n_params": n_params, "n_tokens": n_tokens, **columns}
        missing = [name for name in law.columns if given.get(name) is None]
        if missing:
            raise ValueError(f"predict: the law {self.law} reads {', '.join(missing)} too; give all of them")
        x = dict(zip(law.columns, np.broadcast_arrays(*[np.asarray(given[c], float) for c in law.columns])))
        wrong = [name for name in law.columns if name in law.positive and not np.all(x[name] > 0)]
        if wrong:
            raise ValueError(f"predict: {' and '.join(wrong)} must be positive")
        shape = np.shape(x[law.columns[0]])
        found = self.forecast.predict(law, {name: value.ravel() for name, value in x.items()}, self.level)
        return Prediction(*[v.reshape(shape) if shape else float(v[0]) for v in found])

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives back the same fit."""
        frontier = {**self.exponents, "ci": {k: list(v) for k, v in self.exponents_ci.items()}}
        return {
            "law": self.law,
            "approach": self.approach,
            "params": self.params,
            "ci": {"level": self.level, **{k: list(v) for k, v in self.ci.items()}},
            "frontier": frontier,
            "n_points": self.n_points,
            "dropped": self.dropped,
            "objective": self.objective,
            "delta": self.delta,
            "status": self.status,
            "diagnostics": self.diagnostics.to_json() if self.diagnostics else None,
            "notes": list(self.notes),
            "conventions": self.conventions,
            "holdout": self.holdout,
            "isoflop": self.profiles.to_json() if self.profiles else None,
            "forecast": self.forecast.to_json(),
            "samples": self.samples.tolist(),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Fit":
        """Raises ValueError where a key is missing or the law is unknown."""
        try:
            law = laws.find(content["law"])
            ci, frontier = dict(content["ci"]), dict(content["frontier"])
            return Fit(
                level=ci.pop("level"),
                ci={k: tuple(v) for k, v in ci.items()},
                exponents_ci={k: tuple(v) for k, v in frontier.pop("ci").items()},
                exponents=frontier,
                samples=np.asarray(content["samples"], float).reshape(-1, len(law.params)),
                forecast=Forecast.from_json(content["forecast"]),
                diagnostics=Diagnostics.from_json(found) if (found := content["diagnostics"]) else None,
                profiles=isoflop.Profiles.from_json(content["isoflop"]) if content["isoflop"] else None,
                notes=tuple(content["notes"]),
                **{k: content[k] for k in ("law", "approach", "params", "n_points", "dropped", "objective")},
                **{k: content[k] for k in ("delta", "status", "conventions", "holdout")},
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"not a fit.json of isoflop ({error!r}); make one with: isoflop fit TABLE --out fit.json"
            ) from error

    def __str__(self) -> str:
        """Values with intervals, exponents, status and notes."""
        law = laws.find(self.law)
        rows = [_line(k, v, self.ci.get(k)) for k, v in self.params.items()]
        rows += [
            _line(f"N* ~ C^{k}" if k == "a" else f"D* ~ C^{k}", v, self.exponents_ci.get(k))
            for k, v in self.exponents.items()
        ]
        how = f"approach {self.approach}, {self.n_points} runs, {self.dropped} dropped, delta {self.delta:g}"
        noise, target = self.forecast.noise, law.target
        scatter = f"{noise:.2%} of the {target}" if law.scale == "log" else f"{noise:.3g} in {target}"
        tail = f"objective {self.objective:.10g}; noise {scatter}; {self.status}"
        head = f"{self.law}: {law.target} = {law.formula}  ({how}; {self.level:.0%} intervals)"
        doubts = [str(self.diagnostics)] if self.diagnostics else []
        return "\n".join([head, *rows, tail, *doubts, *[f"note: {note}" for note in self.notes]])


def _line(name: str, value: float, interval: tuple[float, float] | None) -> str:
    between = f"  [{interval[0]:.5g}, {interval[1]:.5g}]" if interval else ""
    return f"  {name:<10} {value:>12.6g}{between}"


def fit(
    runs: Runs,
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
      approach: 3 takes the frontier's exponents from the law, 2 from the minima of IsoFLOP profiles, 1 from
        the envelope of the runs.
      n_bootstrap: resamples of the runs behind the intervals; 0 gives values without intervals.
      delta: in log loss, where the Huber loss turns from square to linear.
      relax: forecast with the law's relaxed form, which extrapolates better on published tables; without it
        the law itself forecasts: fewer parameters, narrower intervals, for runs near the frontier.

    Raises:
      ValueError: unknown law or approach, a setting out of range, or too few usable runs.
    """
    _check(approach, n_bootstrap, level, delta)
    form = laws.find(law)
    usable = runs.for_fit(form.target, form.columns)
    for name in form.positive:
        usable = usable.without(usable.table[name].to_numpy(float) <= 0, f"{name} is not positive")
    table, needed = usable.table, len(form.params) + 1
    distinct = len(table.drop_duplicates(list(form.columns)))
    if distinct < needed:
        lost = [note for note in usable.notes if "left out" in note or "dropped" in note]
        why = f"; {lost[-1]}" if lost else ""
        raise ValueError(
            f"{law} has {len(form.params)} parameters and needs {needed} different runs, not {distinct}{why}"
        )
    rng = np.random.default_rng(seed)
    x, y, units = in_units(form, table)
    run = run_numbers(table)

    from_starts, draws = _free_fit(form, x, y, run, n_bootstrap, delta, rng)
    solution = best(from_starts, len(from_starts.theta))
    found = diagnose(form, x, y, run, delta, from_starts)
    params = dict(zip(form.params, map(float, form.unscale(solution.theta[0], units))))
    samples = form.unscale(draws, units)
    profiles = _profiles(usable, form, approach, n_bootstrap, seed, level)
    exponents, exponents_ci = _exponents(form, params, samples, level)
    if approach == 1:
        exponents, exponents_ci = _of_envelope(usable, n_bootstrap, seed, level)
    elif approach == 2 and profiles and profiles.n_params and profiles.n_tokens:
        laws_of_c = {"a": profiles.n_params, "b": profiles.n_tokens}
        exponents = {name: found.exponent for name, found in laws_of_c.items()}
        exponents_ci = {name: (found.lo, found.hi) for name, found in laws_of_c.items()}
    relaxed = form.relaxed if relax and form.relaxed else form
    forecast = uncertainty.forecast(relaxed, x, y, units, n_bootstrap, rng)
    return Fit(
        law=law,
        approach=approach,
        params=params,
        ci=_interval(form.params, samples, level),
        level=level,
        samples=samples,
        exponents=exponents,
        exponents_ci=exponents_ci,
        n_points=len(table),
        dropped=usable.dropped,
        objective=float(solution.objective[0]),
        delta=delta,
        forecast=forecast,
        profiles=profiles,
        status=_status(form, solution, found, int(run.max()) + 1),
        diagnostics=found,
        notes=usable.notes,
        conventions=usable.conventions,
    )


def held_out(fit: Fit, runs: Runs) -> Fit:
    """The fit with its errors on runs that it has not seen: relative, and the share inside the interval."""
    law = laws.find(fit.law)
    table = runs.for_fit(law.target, law.columns).table
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
    units = {n: 1.0 if n in law.pure else float(np.exp(np.log(v).mean())) for n, v in columns.items()}
    units |= {name: units[other] for name, other in law.same_unit}
    units[law.target] = float(target.min()) if law.scale == "log" else 1.0
    x = {name: value / units[name] for name, value in columns.items()}
    return x, np.log(target / units[law.target]) if law.scale == "log" else target, units


def run_numbers(table: pd.DataFrame) -> np.ndarray:
    """The run of each row, numbered from 0: points of one curve share a run_id."""
    if "run_id" not in table:
        return np.arange(len(table))
    return np.unique(table["run_id"].astype(str).to_numpy(str), return_inverse=True)[1]


def _check(approach: int, n_bootstrap: int, level: float, delta: float) -> None:
    if approach not in APPROACHES:
        raise ValueError(
            f"approach={approach}; allowed are 1 (envelope), 2 (IsoFLOP profiles) and 3 (the law itself)"
        )
    if n_bootstrap < 0:
        raise ValueError(f"n_bootstrap={n_bootstrap}; it must be 0 or more")
    if not 0 < level < 1:
        raise ValueError(f"level={level}; it must lie between 0 and 1, for example 0.9")
    if not delta > 0:
        raise ValueError(f"delta={delta}; it must be positive, for example 1e-3")


def _free_fit(
    law: Law, x: Mapping[str, np.ndarray], y: np.ndarray, run: np.ndarray, n_bootstrap: int, delta: float, rng
) -> tuple[Solution, np.ndarray]:
    """The solution from every start point, and optima of resampled runs [n_bootstrap, params]."""
    none = np.zeros((1, len(law.params)))
    problems = Problems(y[None], np.ones((1, len(y))), np.array([delta]), none, none)
    solution = solve(law, x, problems, np.array(law.starts))
    if n_bootstrap == 0:
        return solution, np.zeros((0, len(law.params)))
    theta = best(solution, len(solution.theta)).theta
    if run.max() >= MANY_RUNS:
        return solution, resampled(law, x, y, theta[0], delta, run, n_bootstrap, rng)
    problems = problems._replace(weight=uncertainty.resample(run, n_bootstrap, rng))
    return solution, solve(law, x, problems, np.repeat(theta, n_bootstrap, axis=0), ROUGH).theta


def _profiles(
    runs: Runs, law: Law, approach: int, n_bootstrap: int, seed: int, level: float
) -> isoflop.Profiles | None:
    if law.target != "loss" or not {"n_params", "n_tokens"} <= set(law.columns):
        return None
    if approach == 3 and not isoflop.budgets(runs.table):
        return None
    profiles = isoflop.profiles(runs, n_bootstrap, seed, level)
    if approach == 2 and profiles.n_params is None:
        raise ValueError(
            "approach 2: fewer than two budgets have their minimum inside the sizes tried; add sizes"
        )
    return profiles


def _of_envelope(runs: Runs, n_bootstrap: int, seed: int, level: float):
    """N* ~ C^a and, at 6ND FLOPs, D* ~ C^(1 - a)."""
    found = envelope(runs, n_bootstrap, seed, level)
    if found is None:
        raise ValueError("approach 1: fewer than three sizes are the best at any compute; add sizes")
    a = found.exponent
    ends = {"a": (found.lo, found.hi), "b": (1 - found.hi, 1 - found.lo)} if np.isfinite(found.lo) else {}
    return {"a": a, "b": 1 - a}, ends


def _exponents(law: Law, params: dict[str, float], samples: np.ndarray, level: float):
    """Hoffmann et al. 2022, eq. 4: a = beta / (alpha + beta), b = alpha / (alpha + beta)."""
    if law is not CHINCHILLA:
        return {}, {}
    both = np.vstack([list(params.values()), samples])[:, 3:]
    a = both[:, 1] / np.maximum(both.sum(axis=1), 1e-12)
    ends = _interval(("a", "b"), np.stack([a[1:], 1 - a[1:]], -1), level)
    return {"a": float(a[0]), "b": float(1 - a[0])}, ends


def _interval(names, samples: np.ndarray, level: float) -> dict[str, tuple[float, float]]:
    if not len(samples):
        return {}
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(ends[0, i]), float(ends[1, i])) for i, name in enumerate(names)}


def _status(law: Law, solution: Solution, found: Diagnostics, n_runs: int) -> str:
    """ "converged", or the reason to doubt the parameters."""
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
