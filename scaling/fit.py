"""Fitting a law to a table of runs: parameters with intervals, the frontier's exponents, and forecasts."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from scaling import isoflop, uncertainty
from scaling.laws import CHINCHILLA, LAWS, Law
from scaling.runs import Runs
from scaling.solver import ROUGH, Lanes, Solution, best, solve
from scaling.uncertainty import Forecast

APPROACHES = (2, 3)
AT_BOUND = 1e-6
FORMS = {form.name: form for law in LAWS.values() for form in (law, law.relaxed or law)}


class Prediction(NamedTuple):
    """Loss, nats per token, with the interval for the measured loss of one new run (NaN without draws)."""

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
      forecast: what predictions are made with; see scaling/uncertainty.py.
      profiles: approach 2 on the same runs, None where the table has no budgets.
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

    def predict(self, n_params, n_tokens) -> Prediction:
        """Loss of new runs; scalars, or arrays that broadcast.

        It comes from the law's relaxed form unless the fit was made without (`relax`, see scaling/laws.py),
        and the interval holds run-to-run noise too.
        """
        n, d = np.broadcast_arrays(np.asarray(n_params, float), np.asarray(n_tokens, float))
        if not (np.all(n > 0) and np.all(d > 0)):
            raise ValueError("predict: n_params and n_tokens must be positive")
        found = self.forecast.predict(
            FORMS[self.forecast.law], {"n_params": n.ravel(), "n_tokens": d.ravel()}, self.level
        )
        return Prediction(*[v.reshape(n.shape) if n.ndim else float(v[0]) for v in found])

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
            law = FORMS[content["law"]]
            ci, frontier = dict(content["ci"]), dict(content["frontier"])
            return Fit(
                level=ci.pop("level"),
                ci={k: tuple(v) for k, v in ci.items()},
                exponents_ci={k: tuple(v) for k, v in frontier.pop("ci").items()},
                exponents=frontier,
                samples=np.asarray(content["samples"], float).reshape(-1, len(law.params)),
                forecast=Forecast.from_json(content["forecast"]),
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
        rows = [_line(k, v, self.ci.get(k)) for k, v in self.params.items()]
        rows += [
            _line(f"N* ~ C^{k}" if k == "a" else f"D* ~ C^{k}", v, self.exponents_ci.get(k))
            for k, v in self.exponents.items()
        ]
        how = f"approach {self.approach}, {self.n_points} runs, {self.dropped} dropped, delta {self.delta:g}"
        tail = f"objective {self.objective:.10g}; noise {self.forecast.noise:.2%} of the loss; {self.status}"
        head = f"{self.law}: L = {FORMS[self.law].formula}  ({how}; {self.level:.0%} intervals)"
        return "\n".join([head, *rows, tail, *[f"note: {note}" for note in self.notes]])


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
      approach: 3 takes the frontier's exponents from the law, 2 from the minima of IsoFLOP profiles.
      n_bootstrap: resamples of the runs behind the intervals; 0 gives values without intervals.
      delta: in log loss, where the Huber loss turns from square to linear.
      relax: forecast with the law's relaxed form, which extrapolates better on published tables; without it
        the law itself forecasts: fewer parameters, narrower intervals, for runs near the frontier.

    Raises:
      ValueError: unknown law or approach, a setting out of range, or too few usable runs.
    """
    form = _checked(law, approach, n_bootstrap, level, delta)
    usable = runs.for_fit()
    table, needed = usable.table, len(form.params) + 1
    distinct = len(table.drop_duplicates(["n_params", "n_tokens"]))
    if distinct < needed:
        why = f"; {usable.notes[-1]}" if usable.notes else ""
        raise ValueError(
            f"{law} has {len(form.params)} parameters and needs {needed} different runs, not {distinct}{why}"
        )
    rng = np.random.default_rng(seed)
    columns = {c: table[c].to_numpy(float) for c in {*form.columns, "n_params", "n_tokens", "loss"}}
    units = {c: float(np.exp(np.log(columns[c]).mean())) for c in form.columns}
    units["loss"] = float(columns["loss"].min())
    x = {c: columns[c] / units[c] for c in form.columns}
    y = np.log(columns["loss"] / units["loss"])
    run = np.arange(len(y))
    if "run_id" in table:
        run = np.unique(table["run_id"].astype(str).to_numpy(str), return_inverse=True)[1]

    solution, draws = _free_fit(form, x, y, run, n_bootstrap, delta, rng)
    params = dict(zip(form.params, map(float, form.unscale(solution.theta[0], units))))
    samples = form.unscale(draws, units)
    profiles = _profiles(usable, approach, n_bootstrap, seed, level)
    exponents, exponents_ci = _exponents(form, params, samples, profiles if approach == 2 else None, level)
    relaxed = form.relaxed if relax and form.relaxed else form
    known = uncertainty.posterior(relaxed, x, y[None], run, n_bootstrap, len(form.params), rng)
    forecast = Forecast(
        law=relaxed.name,
        theta=relaxed.unscale(known.theta[0], units),
        samples=relaxed.unscale(known.draws[0], units),
        noise=float(known.noise[0]),
        dof=float(max(run.max() + 1 - len(form.params), 2)),
        drift=float(known.drift[0]),
        reach=float((columns["n_params"] * columns["n_tokens"]).max()),
    )
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
        status=_status(form, solution),
        notes=usable.notes,
        conventions=usable.conventions,
    )


def held_out(fit: Fit, runs: Runs) -> Fit:
    """The fit with its errors on runs that it has not seen: relative, and the share inside the interval."""
    table = runs.for_fit().table
    if table.empty:
        raise ValueError("no finished run is held out; mark some, or leave --holdout away")
    found = fit.predict(table["n_params"].to_numpy(), table["n_tokens"].to_numpy())
    loss = table["loss"].to_numpy()
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


def _checked(law: str, approach: int, n_bootstrap: int, level: float, delta: float) -> Law:
    if law not in LAWS:
        near = difflib.get_close_matches(law, LAWS, n=1)
        raise ValueError(
            f"unknown law {law!r}; "
            + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LAWS)}")
        )
    if approach not in APPROACHES:
        raise ValueError(f"approach={approach}; allowed are 2 (IsoFLOP profiles) and 3 (the law itself)")
    if n_bootstrap < 0:
        raise ValueError(f"n_bootstrap={n_bootstrap}; it must be 0 or more")
    if not 0 < level < 1:
        raise ValueError(f"level={level}; it must lie between 0 and 1, for example 0.9")
    if not delta > 0:
        raise ValueError(f"delta={delta}; it must be positive, for example 1e-3")
    return LAWS[law]


def _free_fit(law: Law, x, y: np.ndarray, run: np.ndarray, n_bootstrap: int, delta: float, rng):
    """The optimum over all start points, and from there those of resampled runs [n_bootstrap, params]."""
    none = np.zeros((1, len(law.params)))
    lanes = Lanes(y[None], np.ones((1, len(y))), np.array([delta]), none, none)
    solution = best(solve(law, x, lanes, np.array(law.starts)), len(law.starts))
    if n_bootstrap == 0:
        return solution, np.zeros((0, len(law.params)))
    lanes = lanes._replace(weight=uncertainty.resample(run, n_bootstrap, rng))
    return solution, solve(law, x, lanes, np.repeat(solution.theta, n_bootstrap, axis=0), ROUGH).theta


def _profiles(
    runs: Runs, approach: int, n_bootstrap: int, seed: int, level: float
) -> isoflop.Profiles | None:
    if approach == 3 and not isoflop.budgets(runs.table):
        return None
    profiles = isoflop.profiles(runs, n_bootstrap, seed, level)
    if approach == 2 and profiles.n_params is None:
        raise ValueError(
            "approach 2: fewer than two budgets have their minimum inside the sizes tried; add sizes"
        )
    return profiles


def _exponents(
    law: Law, params: dict[str, float], samples: np.ndarray, profiles: isoflop.Profiles | None, level: float
):
    """Hoffmann et al. 2022, eq. 4: a = beta / (alpha + beta), b = alpha / (alpha + beta)."""
    if profiles and profiles.n_params and profiles.n_tokens:
        a, b = profiles.n_params, profiles.n_tokens
        return {"a": a.exponent, "b": b.exponent}, {"a": (a.lo, a.hi), "b": (b.lo, b.hi)}
    if law is not CHINCHILLA:
        return {}, {}
    both = np.vstack([list(params.values()), samples])[:, 3:]
    a = both[:, 1] / np.maximum(both.sum(axis=1), 1e-12)
    return {"a": float(a[0]), "b": float(1 - a[0])}, _interval(
        ("a", "b"), np.stack([a[1:], 1 - a[1:]], -1), level
    )


def _interval(names, samples: np.ndarray, level: float) -> dict[str, tuple[float, float]]:
    if not len(samples):
        return {}
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(ends[0, i]), float(ends[1, i])) for i, name in enumerate(names)}


def _status(law: Law, solution: Solution) -> str:
    """ "converged", or the reason to doubt the parameters."""
    low, high = np.array(law.bounds).T
    theta = solution.theta[0]
    pressed = [
        p for p, t, lo, hi in zip(law.params, theta, low, high) if t <= lo + AT_BOUND or t >= hi - AT_BOUND
    ]
    if not solution.converged[0]:
        return "NOT CONVERGED: the runs may not determine the law; add sizes or budgets"
    if pressed:
        return f"AT A BOUND: {', '.join(pressed)}; the runs do not determine it, add larger budgets"
    return "converged"
