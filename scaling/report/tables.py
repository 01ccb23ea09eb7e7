"""Plain tables that the figures draw: runs against the law, frontier, profiles, learning rates."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

import scaling
from scaling import laws
from scaling.fitting.result import Fit
from scaling.prediction.collapse import Collapse
from scaling.prediction.run_curves import FRACTIONS, above_final
from scaling.profiles.isoflop import budgets
from scaling.report.data import ReportData
from scaling.report.theme import e_notation, is_done, of_stage, si
from scaling.table.runs import TUNING, post_trained

BEYOND = 1.6  # the frontier is drawn this factor past the last compute of interest …
AHEAD = 10.0  # … or this far where no run has tested the law
BUDGETS = 24  # points of the drawn frontier
DRAWN = 60  # points of a drawn curve
MARGIN = 1.15  # curves and laws are drawn this factor past their last point


def splits_budgets(fit: Fit) -> bool:
    """Whether the law predicts the loss from N and D alone, so that a budget has a best split."""
    law = laws.find(fit.law)
    return set(law.columns) == {"n_params", "n_tokens"} and law.target == "loss"


def runs(data: ReportData) -> pd.DataFrame:
    """Every run, labelled (`size`), and where there is a law with predicted, lo, hi and residual in per cent.

    Runs of a learning-rate sweep get none: the law is about runs at a good rate; nor do post-trained ones.
    A verification run keeps the prediction that was on disk before it trained.
    """
    table = data.runs.table.copy()
    for name, value in {"stage": "run", "run_id": "", "lr": np.nan}.items():
        if name not in table:
            table[name] = value
    table["loss"] = np.where(is_done(table), table["loss"], np.nan)
    table["size"] = [si(n_params) for n_params in table["n_params"]]
    if data.fit is None or not splits_budgets(data.fit):
        return table.assign(predicted=np.nan, lo=np.nan, hi=np.nan, residual=np.nan)
    forecast = data.fit.predict(table["n_params"].to_numpy(), table["n_tokens"].to_numpy())
    for name, values in zip(("predicted", "lo", "hi"), forecast):
        table[name] = np.where(of_stage(table, *TUNING) | post_trained(table), np.nan, values)
    if data.verify:
        own = table["run_id"] == data.verify["run_id"]
        table.loc[own, ["predicted", "lo", "hi"]] = [data.verify[name] for name in ("predicted", "lo", "hi")]
    return table.assign(residual=100 * (table["loss"] / table["predicted"] - 1))


def frontier(data: ReportData, table: pd.DataFrame) -> pd.DataFrame:
    """Compute-optimal N, D and loss with intervals, from below the smallest compute to past the largest.

    Columns: flops, n_params, n_lo, n_hi, n_tokens, loss, lo, hi, and lo_percent, hi_percent of the loss.
    """
    if data.fit is None or not splits_budgets(data.fit):
        return pd.DataFrame()
    low, high = table["flops"].min() / BEYOND, table["flops"].max() * AHEAD
    if data.verify:
        high = max(table["flops"].max(), data.verify["flops"]) * BEYOND
    best = scaling.frontier(data.fit, np.geomspace(low, high, BUDGETS))
    drawn = pd.DataFrame({
        "flops": best.flops, "n_params": best.n_params, "n_lo": best.n_params_lo, "n_hi": best.n_params_hi,
        "n_tokens": best.n_tokens, "loss": best.loss, "lo": best.loss_lo, "hi": best.loss_hi,
    })  # fmt: skip
    percent = {f"{end}_percent": 100 * (drawn[end] / drawn["loss"] - 1) for end in ("lo", "hi")}
    return drawn.assign(**percent)


def forecast(data: ReportData) -> pd.DataFrame:
    """What was predicted before the verification run: flops, loss, lo, hi, measured, words; or no row."""
    columns = ["flops", "predicted", "lo", "hi", "measured"]
    rows = [{name: data.verify.get(name) for name in columns}] if data.verify else []
    table = pd.DataFrame(rows, columns=columns, dtype=float).rename(columns={"predicted": "loss"})
    return table.assign(words=[_words(row) for _, row in table.iterrows()])


def _words(row: pd.Series) -> list[str]:
    predicted = f"predicted {row['loss']:.3f} ± {(row['hi'] - row['lo']) / 2:.3f}"
    return [predicted] if np.isnan(row["measured"]) else [f"measured {row['measured']:.3f}", predicted]


@dataclass(frozen=True)
class DrawnProfiles:
    """IsoFLOP profiles to draw. `budget` is the label that joins the tables; `budget_flops` orders it."""

    runs: pd.DataFrame
    curves: pd.DataFrame  # budget, n_params, loss
    minima: pd.DataFrame  # budget, flops, n_params, n_params_lo, n_params_hi, n_tokens, loss, at_edge


def profiles(data: ReportData, table: pd.DataFrame) -> DrawnProfiles | None:
    """The profiles of the fit, where the table has several sizes at equal compute."""
    if data.fit is None or data.fit.profiles is None:
        return None
    minima = pd.DataFrame([asdict(minimum) for minimum in data.fit.profiles.minima])
    if not data.study and minima["at_edge"].to_numpy().all():  # runs of equal compute by chance
        return None
    minima["budget"] = [e_notation(flops) for flops in minima["flops"]]
    points, curves = [], []
    for group in budgets(table.loc[~of_stage(table, "verify")]):
        off = np.log(minima["flops"].to_numpy() / group["flops"].to_numpy().mean())
        nearest = minima.to_dict("records")[np.abs(off).argmin()]
        points.append(group.assign(budget=nearest["budget"], budget_flops=nearest["flops"]))
        if np.polyval(np.polyder(nearest["curve"], 2), np.log(nearest["n_params"])) <= 0:
            continue  # no minimum there
        sizes, losses = _curve(nearest["curve"], group["n_params"].to_numpy())
        drawn = pd.DataFrame({"budget": nearest["budget"], "n_params": sizes, "loss": losses})
        among = (losses > 0.98 * group["loss"].min()) & (losses < 1.02 * group["loss"].max())
        curves.append(drawn.loc[among])  # far from the runs that placed it a cubic may go anywhere
    if not curves:
        return None
    return DrawnProfiles(pd.concat(points), pd.concat(curves), minima)


def _curve(curve: tuple[float, ...], tried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and loss of a polynomial of log loss in log x, over what was tried."""
    x = np.geomspace(tried.min() / MARGIN, tried.max() * MARGIN, DRAWN)
    return x, np.exp(np.polyval(curve, np.log(x)))


def optima(table: pd.DataFrame, found: DrawnProfiles | None) -> pd.DataFrame:
    """Independent views of the best size at a compute: minima of the profiles, and the verification run."""
    star = table.loc[of_stage(table, "verify")]
    star = star.assign(kind="verification run", n_params_lo=np.nan, n_params_hi=np.nan)
    columns = ["kind", "flops", "n_params", "n_params_lo", "n_params_hi", "n_tokens", "loss"]
    if found is None:
        return star[columns]
    edge = found.minima["at_edge"]
    minima = found.minima.assign(kind=np.where(edge, "minimum at the edge", "profile minimum"))
    minima.loc[edge, ["n_params_lo", "n_params_hi"]] = np.nan  # a bound has no interval
    both = [minima[columns], star[columns]]
    return pd.concat([part for part in both if len(part)], ignore_index=True)


@dataclass(frozen=True)
class LearningRates:
    """Learning-rate sweep and law to draw."""

    runs: pd.DataFrame
    curves: pd.DataFrame  # size, lr, loss
    optima: pd.DataFrame  # size, n_params, n_tokens, lr, lo, hi, loss, at_edge
    law: pd.DataFrame  # n_params, lr, lo, hi
    formula: str
    level: float


def learning_rates(data: ReportData, table: pd.DataFrame) -> LearningRates | None:
    """The sweeps behind the law of the learning rate, and the law along the runs that used it."""
    swept = table.loc[of_stage(table, *TUNING)] if data.study else table
    if data.lr is None or swept.empty:
        return None
    best = pd.DataFrame([asdict(optimum) for optimum in data.lr.optima])
    best["size"] = [si(n_params) for n_params in best["n_params"]]
    best = best.rename(columns={"lr_lo": "lo", "lr_hi": "hi", "lr_at_edge": "at_edge"})
    curves = []
    for sweep, (size, optimum) in enumerate(zip(best["size"], data.lr.optima)):
        tried = data.lr.runs.loc[data.lr.runs["cell"] == sweep, "lr"]
        rates = np.geomspace(tried.min() / MARGIN, tried.max() * MARGIN, DRAWN)
        batch = {"batch_tokens": np.full(DRAWN, optimum.batch_tokens)}
        losses = data.lr.surface(sweep).loss(lr=rates, **batch)
        curves.append(pd.DataFrame({"size": size, "lr": rates, "loss": losses}))
    formula = data.lr.formulas["lr"]
    return LearningRates(swept, pd.concat(curves), best, _rate_law(data, table), formula, data.lr.level)


def _rate_law(data: ReportData, table: pd.DataFrame) -> pd.DataFrame:
    """The law over all sizes, with as many tokens as runs of that size had (a power law through them)."""
    assert data.lr is not None
    n_params = np.geomspace(table["n_params"].min() / MARGIN, table["n_params"].max() * MARGIN, DRAWN)
    degree = min(len(set(table["n_params"])) - 1, 1)  # of one size so far its tokens stand for all
    line = np.polyfit(np.log(table["n_params"]), np.log(table["n_tokens"]), degree)
    n_tokens = np.exp(np.polyval(line, np.log(n_params)))
    best = data.lr.predict(n_params, n_tokens)
    return pd.DataFrame({"n_params": n_params, "lr": best.lr, "lo": best.lr_lo, "hi": best.lr_hi})


def collapse(found: Collapse) -> pd.DataFrame:
    """Loss over final loss along each run: run_id, n_params, n_tokens, final, broken, fraction, ratio."""
    runs = [(run, "no") for run in found.runs] + [(each.curve, "yes") for each in found.broken]
    parts = [
        pd.DataFrame({"fraction": FRACTIONS, "ratio": np.exp(above_final([run])[0])}).assign(
            run_id=run.run_id, n_params=run.n_params, n_tokens=run.n_tokens, final=run.final, broken=off
        )
        for run, off in runs
    ]
    return pd.concat(parts, ignore_index=True)
