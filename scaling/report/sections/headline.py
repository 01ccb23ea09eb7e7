"""Top of the page: the sentence that matters, and the key figures under it."""

from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.fitting.result import Fit
from scaling.report.data import ReportData
from scaling.report.page import PageHead
from scaling.report.sections import families, missing
from scaling.report.theme import is_done, plain, sci, si

FURTHER = 10.0  # times the compute of the verification run


def head(data: ReportData, runs: pd.DataFrame, law: pd.DataFrame, frontier: pd.DataFrame) -> PageHead:
    """The top of the page.

    Args:
      data: what the page shows.
      runs: all runs, as `tables.runs` gives them; law: those of them that the law is about.
      frontier: of `tables.frontier`; may be empty.
    """
    finding = data.conclusion.partition("\n")[0] if data.pictures else ""  # a law is at most a part of it
    by_the_law = bool(data.verify) or (len(frontier) > 0 and not finding)
    if data.verify and data.verify.get("measured") is not None:
        headline, lede = _verified(data.verify), _how(data.verify, law) + _further(data.verify, data.further)
    elif data.verify:
        headline, lede = _waiting(data.verify), _how(data.verify, law)
    elif data.families:
        headline, lede = families.headline(data.families), data.no_fit
    elif finding:
        headline, lede = [(finding[:1].upper() + finding[1:].rstrip(".") + ".", False)], _range(runs)
    elif len(frontier):
        headline, lede = _extrapolated(frontier.to_dict("records")[-1]), _fitted_to(data, law)
    else:
        headline, lede = [(_range(runs), False)], data.no_fit
    doubt = (data.verify or {}).get("doubt") or (data.fit.doubt if data.fit is not None else "")
    if doubt and by_the_law:
        headline = [*headline, (f" {doubt[:1].upper()}{doubt[1:]}.", False)]
    maker = f"isoflop {data.versions.get('isoflop', '')}".strip()
    return PageHead(
        title=f"{data.name}: {''.join(words for words, _ in headline)}",
        kicker=f"Scaling study “{data.name}”" if data.study else f"Table of runs “{data.name}”",
        headline=headline,
        lede=lede,
        key=_key(data, runs, law, frontier),
        footer=f"{maker}, from {data.source}. This page is one file and loads nothing.",
        notice=missing.notice(data.missing, data.verify) if data.missing else "",
    )


def _range(runs: pd.DataFrame) -> str:
    flops = runs["flops"].to_numpy()
    return f"{len(runs)} runs from {sci(flops.min())} to {sci(flops.max())} FLOPs."


def half_width(verify: dict[str, Any]) -> float:
    """Half the interval of a prediction, nats per token."""
    return (verify["hi"] - verify["lo"]) / 2


def _prediction(verify: dict[str, Any]) -> str:
    loss, half = verify["predicted"], half_width(verify)
    return f"Predicted {loss:.3f} ± {half:.3f} nats per token at {sci(verify['flops'])} FLOPs; "


def _verified(verify: dict[str, Any]) -> list[tuple[str, bool]]:
    error = verify["measured"] / verify["predicted"] - 1
    apart, side = f"{abs(error):.1%}", "above" if error > 0 else "below"
    how = "as predicted" if apart == "0.0%" else f"{apart} {side}"
    where = "inside" if verify["lo"] <= verify["measured"] <= verify["hi"] else "outside"
    verdict = f", {how} and {where} the {verify['level']:.0%} interval."
    return [(_prediction(verify), False), (f"measured {verify['measured']:.3f}", True), (verdict, False)]


def _waiting(verify: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(_prediction(verify), False), ("not measured yet", True), (".", False)]


def _times(verify: dict[str, Any], law: pd.DataFrame) -> str:
    """Compute of the verification run over that of the largest other run, to two digits."""
    others = (law["run_id"] != verify["run_id"]).to_numpy()
    return plain(float(f"{verify['flops'] / law['flops'].to_numpy()[others].max():.2g}"))


def _how(verify: dict[str, Any], law: pd.DataFrame) -> str:
    return (
        f"The law was fitted to {(law['run_id'] != verify['run_id']).sum()} runs. The run it predicted has "
        f"{_times(verify, law)} times the compute of the largest of them, {si(verify['n_params'])} "
        f"parameters and {si(verify['n_tokens'])} tokens; the prediction was on disk before it trained."
    )


def _further(verify: dict[str, Any], fit: Fit | None) -> str:
    """What the law says that knows the verification run."""
    if fit is None:
        return ""
    best = scaling.frontier(fit, FURTHER * verify["flops"])
    return (
        f" Fitted again with this run, the law expects {best.loss:.3f} ({best.loss_lo:.3f} to "
        f"{best.loss_hi:.3f}) at {sci(best.flops)} FLOPs, ten times as many, with {si(best.n_params, 2)} "
        f"parameters on {si(best.n_tokens, 2)} tokens (further.json); all else on this page is without it."
    )


def _extrapolated(best: dict[str, Any]) -> list[tuple[str, bool]]:
    return [
        (f"At {sci(best['flops'])} FLOPs the law expects a loss of {best['loss']:.3f} ", False),
        (f"({best['lo']:.3f} to {best['hi']:.3f}) nats per token, ", False),
        (f"with {si(best['n_params'], 2)} parameters on {si(best['n_tokens'], 2)} tokens.", False),
    ]


def _fitted_to(data: ReportData, law: pd.DataFrame) -> str:
    assert data.fit is not None
    settings = len(data.runs.table) - len(data.law_runs.table)
    best = f", the best of their sweeps ({settings:,} others tried)" if settings else ""
    largest = f"{sci(law['flops'].to_numpy().max())} FLOPs"
    return (
        f"The law was fitted to {data.fit.n_points:,} {_points(data)}{best}; the number above is for ten "
        f"times the compute of the largest of them ({largest}), where nothing has been measured."
    )


def _points(data: ReportData) -> str:
    """What a row is: a run, or a point of a run's curve."""
    return "points of training curves" if n_runs(data.runs.table) < len(data.runs.table) else "runs"


def n_runs(table: pd.DataFrame) -> int:
    """Rows of one run_id are points of one run's curve."""
    named = len(set(table["run_id"].astype(str))) if "run_id" in table else 0
    return named if named > 1 else len(table)


def _sum(table: pd.DataFrame, column: str) -> float:
    """Over all runs, of each what it had come to at the last point of its curve; what is not known is 0."""
    spent = np.nan_to_num(table[column].to_numpy(float)) if column in table else np.zeros(len(table))
    if n_runs(table) == len(table):
        return float(spent.sum())
    names, run = np.unique(table["run_id"].astype(str).to_numpy(str), return_inverse=True)
    largest = np.zeros(len(names))
    np.maximum.at(largest, run, spent)
    return float(largest.sum())


def _key(
    data: ReportData, runs: pd.DataFrame, law: pd.DataFrame, frontier: pd.DataFrame
) -> list[tuple[str, str, str]]:
    """Name, value, note of each key figure."""
    verify, key = data.verify, []
    if verify and verify.get("measured") is not None:
        error = f"{100 * (verify['measured'] / verify['predicted'] - 1):+.2f}%".replace("-", "−")
        key.append(("Prediction error", error, "measured against predicted loss"))
    if verify:
        width = 100 * half_width(verify) / verify["predicted"]
        key.append(("Interval", f"±{width:.1f}%", f"{verify['level']:.0%}, for one new run"))
        key.append(("Extrapolation", f"{_times(verify, law)}×", "compute beyond the largest fitted run"))
    if data.fit is not None and data.fit.exponents:
        low, high = data.fit.exponents_ci.get("a", (np.nan, np.nan))
        note = f"N* ∝ Cᵃ, {data.fit.level:.0%} in {low:.2f} to {high:.2f}"
        key.append(("Exponent a", f"{data.fit.exponents['a']:.2f}", note))
    if len(frontier) and not verify:
        best = frontier.iloc[(frontier["flops"] - law["flops"].max()).abs().argmin()]
        ratio = float(f"{best['n_tokens'] / best['n_params']:.2g}")
        key.append(("Tokens per parameter", plain(ratio), "at the largest compute"))
        spread = (law["residual"] ** 2).mean() ** 0.5
        key.append(("Residual", f"{spread:.2g}%", "root mean square, forecast against measured"))
    diverged = len(runs) - int(is_done(runs).sum())
    n = n_runs(data.runs.table)
    note = f"{diverged} diverged" if diverged else "none diverged"
    key.append(("Runs", f"{n:,}", note if n == len(runs) else f"{len(runs):,} points of their curves"))
    seconds = _sum(runs, "wall_seconds")
    key.append(
        (
            "Compute",
            sci(_sum(data.runs.table, "flops")),
            f"FLOPs, {_duration(seconds)} of training" if seconds else "FLOPs",
        )
    )
    return key


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
