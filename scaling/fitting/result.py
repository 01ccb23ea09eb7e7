"""A fitted law: its parameters with intervals, what it predicts, its JSON and its text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.diagnostics import Diagnostics
from scaling.fitting.doubts import doubts
from scaling.fitting.forms import Forms
from scaling.fitting.reach import evidence
from scaling.fitting.uncertainty import Forecast
from scaling.profiles.isoflop import Profiles
from scaling.table.flops_per_token import FlopsPerToken

AHEAD = 10.0  # times the largest run's compute: as far as a chart shows the best loss


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
      exponents: optimal N grows as C^a, D as C^b (by the law's formula, by profile minima with
        approach 2, by the envelope with approach 1); `exponents_ci` their intervals. Empty where the law has
        no such formula.
      objective: summed Huber loss of log loss at `params`; delta: where it turns linear.
      forecast: what best sizes are predicted with, and losses too but for `forms`; see
        scaling/fitting/uncertainty.py.
      forms: that forecast mixed with those of other forms; None where the law has none beside it.
      profiles: approach 2 on the same runs, None where the table has no budgets.
      diagnostics: what the runs leave open, and which of them decide.
      status: "converged", or what is wrong and what to do; notes: rows left out and other remarks.
      holdout: errors on runs that were held out, if any.
      evidence: the smallest and the largest value of each column of the runs; see scaling/fitting/reach.py.
      n_runs: runs behind the points, of which one may have many; 0: as many as points.
      flops_per_token: what a token costs, as the runs were counted; None: 6·N.
      unfit: runs that were left out as unfit, and why; see scaling/table/unfit_rows.py.
      design: what the places of the runs leave open, whatever their losses are.
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
    profiles: Profiles | None
    status: str
    notes: tuple[str, ...]
    conventions: dict[str, Any]
    holdout: dict[str, float] = field(default_factory=dict)
    diagnostics: Diagnostics | None = None
    evidence: dict[str, tuple[float, float]] = field(default_factory=dict)
    flops_per_token: FlopsPerToken | None = None
    n_runs: int = 0
    unfit: tuple[dict[str, Any], ...] = ()
    design: tuple[str, ...] = ()
    forms: Forms | None = None

    @property
    def relaxed(self) -> bool:
        """Whether predictions are by the relaxed forms of laws, where they have one."""
        return self.forecast.law != self.law or laws.find(self.law, run_files=False).relaxed is None

    @property
    def predicted_by(self) -> str:
        """The form that predictions are made with, what it was fitted to and what FLOPs count, in words."""
        form = laws.find(self.forecast.law)
        name = "the law itself" if form.name == self.law else f"its relaxed form {form.name}: {form.formula}"
        if self.forms:
            shares = zip(self.forms.forecasts, self.forms.weights)
            name = "a mixture of forms, " + ", ".join(
                f"{laws.find(known.law).name} {'under 1%' if share < 0.005 else f'{share:.0%}'}"
                for known, share in shares
            )
        left_out = f" ({len(self.unfit)} unfit rows left out)" if self.unfit else ""
        said = [name, f"fitted to {self.points}{left_out}"]
        if "flops" in self.evidence:
            said.append(str(self.flops_per_token or "C = 6·N·D"))
        return "; ".join(said)

    @property
    def points(self) -> str:
        """How many runs were fitted, in words; of curves, how many points of theirs."""
        n_runs = self.n_runs or self.n_points
        return (
            f"{n_runs:,} runs" if n_runs == self.n_points else f"{self.n_points:,} points of {n_runs:,} runs"
        )

    @property
    def doubt(self) -> str:
        """Why not to lean on what is predicted, in words; empty where there is no reason."""
        low, high = self.evidence.get("flops", (1.0, float("inf")))
        condition = self.diagnostics.condition if self.diagnostics else 1.0
        params, n_runs = list(self.params), self.n_runs or self.n_points
        about = (self.status, condition, self.profiles, high / low, self.forecast.noise)
        found = [*doubts(n_runs, params, *about), *self.design]
        return f"in doubt: {', '.join(found)}" if found else ""

    def predict(self, n_params=None, n_tokens=None, **columns) -> Prediction:
        """The target of new runs, from the columns that the law reads; scalars, or arrays that broadcast.

        It comes from the law's relaxed form, or the law itself if the fit was made without (`relax`), from
        the forms beside it and from what all are off by (scaling/fitting/forms.py, uncertainty.py); the
        interval holds run-to-run noise too.

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
        x = {name: value.ravel() for name, value in x.items()}
        known = self.forms.predict if self.forms else partial(self.forecast.predict, law)
        found = known(x, self.level)
        return Prediction(*[v.reshape(shape) if shape else float(v[0]) for v in found])

    def plot(self) -> Any:
        """A small chart of altair's: loss against compute, of the runs and at the best size of each budget.

        Of a law of other columns than size and tokens: what was measured against what it predicts. Of very
        many runs, those that lie close together are drawn as one.
        """
        from scaling import notebook

        law, seen = laws.find(self.forecast.law), self.forecast
        x = {name: seen.units[name] * seen.x[name] for name in law.columns}
        measured = seen.units[law.target] * (np.exp(seen.y) if law.scale == "log" else seen.y)
        if law.target != "loss" or set(law.columns) != {law.size, "n_tokens"}:
            return notebook.measured_chart(
                pd.DataFrame({"predicted": self.predict(**x).loss, "measured": measured})
            )
        n, d = x[law.size or "n_params"], x["n_tokens"]
        cost = self.flops_per_token or _six_n
        runs = pd.DataFrame({"n_params": n, "n_tokens": d, "flops": cost(n) * d, "loss": measured})
        return notebook.points_and_line(runs, self._frontier(law.size or "n_params", runs))

    def _frontier(self, size: str, runs: pd.DataFrame) -> pd.DataFrame:
        """flops, loss, lo, hi at the best of many sizes, up to AHEAD times the largest run's compute."""
        c = np.geomspace(runs["flops"].min(), AHEAD * runs["flops"].max(), 40)[:, None]
        cost = self.flops_per_token or _six_n
        n = np.geomspace(runs["n_params"].min() / AHEAD, AHEAD * runs["n_params"].max(), 160)
        found = self.predict(**{size: np.broadcast_to(n, (len(c), len(n))), "n_tokens": c / cost(n)})
        best = np.argmin(found.loss, axis=1)[:, None]
        at = [np.take_along_axis(np.asarray(value), best, axis=1)[:, 0] for value in found]
        return pd.DataFrame(dict(zip(("flops", "loss", "lo", "hi"), (c[:, 0], *at))))

    def _repr_html_(self) -> str:
        from scaling import notebook

        law = laws.find(self.law)
        names = {"a": "N* ~ C^a", "b": "D* ~ C^b"}
        rows = [(k, v, self.ci.get(k)) for k, v in self.params.items()]
        rows += [(names[k], v, self.exponents_ci.get(k)) for k, v in self.exponents.items()]
        interval = f"{100 * self.level:.6g}% interval"
        table = [
            {"": name, "value": f"{value:.4g}", interval: f"{ends[0]:.4g} to {ends[1]:.4g}" if ends else ""}
            for name, value, ends in rows
        ]
        caption = f"{self.law}: {law.target} = {law.formula}; {self.n_points} runs, {self.dropped} dropped"
        return notebook.html(caption, table, (self.status, *self.notes))

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
            "n_runs": self.n_runs,
            "dropped": self.dropped,
            "objective": self.objective,
            "delta": self.delta,
            "status": self.status,
            "diagnostics": self.diagnostics.to_json() if self.diagnostics else None,
            "notes": list(self.notes),
            "unfit": list(self.unfit),
            "design": list(self.design),
            "conventions": self.conventions,
            "holdout": self.holdout,
            "isoflop": self.profiles.to_json() if self.profiles else None,
            "forecast": self.forecast.to_json(),
            "forms": self.forms.to_json() if self.forms else None,
            "evidence": {name: list(ends) for name, ends in self.evidence.items()},
            "flops_per_token": self.flops_per_token.to_json() if self.flops_per_token else None,
            "samples": self.samples.tolist(),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any] | Path | str) -> "Fit":
        """The fit that `to_json` gave, or that is in a file. It runs no code: a law of the user's own must be
        known already.

        Raises:
          ValueError: a key is missing, the law is unknown, or the file is not JSON.
        """
        try:
            content = _renamed(content if isinstance(content, Mapping) else _read(Path(content)))
            law = laws.find(content["law"], run_files=False)
            laws.find(content["forecast"]["law"], run_files=False)
            ci, frontier = dict(content["ci"]), dict(content["frontier"])
            forecast, cost = Forecast.from_json(content["forecast"]), content.get("flops_per_token")
            return Fit(
                level=ci.pop("level"),
                ci={k: tuple(v) for k, v in ci.items()},
                exponents_ci={k: tuple(v) for k, v in frontier.pop("ci").items()},
                exponents=frontier,
                samples=np.asarray(content["samples"], float).reshape(-1, len(law.params)),
                forecast=forecast,
                forms=Forms.from_json(saved, forecast) if (saved := content.get("forms")) else None,
                diagnostics=Diagnostics.from_json(found) if (found := content["diagnostics"]) else None,
                profiles=Profiles.from_json(content["isoflop"]) if content["isoflop"] else None,
                notes=tuple(content["notes"]),
                flops_per_token=FlopsPerToken.from_json(cost) if cost else None,
                n_runs=content.get("n_runs", 0),
                unfit=tuple(content.get("unfit", ())),
                design=tuple(content.get("design", ())),
                evidence={
                    k: (lo, hi) for k, (lo, hi) in (content.get("evidence") or _evidence(forecast)).items()
                },
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
        dropped = f"{self.dropped} {'dropped' if self.n_runs in (0, self.n_points) else 'points dropped'}"
        how = f"approach {self.approach}, {self.points}, {dropped}, delta {self.delta:g}"
        noise, target = self.forecast.noise, law.target
        scatter = f"{noise:.2%} of the {target}" if law.scale == "log" else f"{noise:.3g} in {target}"
        tail = f"objective {self.objective:.10g}; noise {scatter}; {self.status}"
        head = f"{self.law}: {law.target} = {law.formula}  ({how}; {self.level:.0%} intervals)"
        about = [self.doubt] if self.doubt else []
        about += [f"predictions are by {self.predicted_by}"]
        about += [str(self.diagnostics)] if self.diagnostics else []
        return "\n".join([head, *rows, tail, *about, *[f"note: {note}" for note in self.notes]])


def _six_n(n_params: np.ndarray) -> np.ndarray:
    return 6.0 * n_params


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from None


def _evidence(forecast: Forecast) -> dict[str, tuple[float, float]]:
    """Of a fit that was saved without: from its runs, of which close ones are averaged."""
    law = laws.find(forecast.law, run_files=False)
    return evidence({k: forecast.units[k] * forecast.x[k] for k in law.columns if k in law.positive})


def _renamed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fit by today's names: mixture:… was the exponential form."""
    if not (str(content["law"]).startswith("mixture:") and "c" in content["params"]):
        return content
    name = content["law"].replace("mixture", "mixture_exponential", 1)
    return {**content, "law": name, "forecast": {**content["forecast"], "law": name}}


def _line(name: str, value: float, interval: tuple[float, float] | None) -> str:
    between = f"  [{interval[0]:.5g}, {interval[1]:.5g}]" if interval else ""
    return f"  {name:<10} {value:>12.6g}{between}"
