"""Which law? Each is fitted to the smaller runs of a table and predicts the larger ones.

Rolling extrapolation: the table is cut at several budgets, every law is fitted below the cut and scored above
it by the logarithm of the density that its forecast gives to what was measured, which rewards being close and
saying how certain. Runs of like compute share what a law is off by, so an octave of compute counts as one
observation. Weights are pseudo-BMA+ over octaves (Yao et al. 2018, arXiv 1704.02030, section 3.4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from scaling import laws as known_laws
from scaling.fitting.fit import check_level, in_units
from scaling.fitting.forms import log_density
from scaling.fitting.uncertainty import Forecast, forecast
from scaling.laws import LAWS, Law
from scaling.table.runs import Runs

CUTS = (0.35, 0.8)  # the first and the last cut, as shares of the runs in order of compute
BEYOND = 1.5  # held out are runs of this many times the compute of the cut, or more
DECISIVE = 0.95  # weight of the best law against the second, from where on the best is decided
RESAMPLES = 1000
CLEAR = 2.0  # standard deviations of either law's prediction by which the two differ at a run that decides


@dataclass(frozen=True)
class Candidate:
    """How one law did on held-out runs; errors are relative to what was measured, half_width is half of the
    median interval relative to what was predicted, score the mean log density of log loss."""

    law: str
    n_held_out: int
    median_abs_error: float
    bias: float
    coverage: float
    half_width: float
    score: float
    weight: float


@dataclass(frozen=True, eq=False)
class LawComparison:
    """The laws, best first.

    Attributes:
      held_out: a row for each law, cut and held-out run: law, cut (its FLOPs), n_params, n_tokens, flops,
        loss (measured), predicted, lo, hi, error, score.
      decided: whether the runs can tell the best law from the second.
      verdict: one sentence.
      next_run: the cheapest run that would distinguish the two best: n_params, n_tokens, flops and, by law,
        what each predicts; None where no run up to a hundred times the largest would.
    """

    candidates: tuple[Candidate, ...]
    held_out: pd.DataFrame
    decided: bool
    verdict: str
    next_run: dict[str, Any] | None


def compare_laws(
    runs: Runs,
    laws: Sequence[str] | None = None,
    n_cuts: int = 4,
    level: float = 0.9,
    seed: int = 0,
    relax: bool = True,
) -> LawComparison:
    """Compares laws of the loss by what they predict of larger runs.

    Args:
      laws: their names; by default all laws of the loss that read sizes and tokens and that the table feeds.
      n_cuts: budgets at which the table is cut; level: of the intervals; seed: of the resampling of octaves.
      relax: laws forecast with their relaxed forms, as in `scaling.fit`.

    Raises:
      ValueError: fewer than two laws, an unknown one, too few runs to hold any out, or no level.
    """
    check_level(level)
    usable = runs.usable()
    found = [known_laws.find(name) for name in laws or default_laws(usable.table)]
    if len(found) < 2:
        raise ValueError(f"comparing takes two laws or more, not {[law.name for law in found]}; name them")
    for law in found:
        usable = usable.usable(law.target, law.columns)
    table = usable.table
    rng = np.random.default_rng(seed)
    held_out = pd.concat(
        [
            _scored(law, relax, table.loc[below], table.loc[above], level).assign(law=law.name, cut=cut)
            for cut, below, above in _cuts(table, found, n_cuts)
            for law in found
        ],
        ignore_index=True,
    )
    octave = np.round(np.log2(held_out["flops"]))
    scores = held_out.pivot_table(index=octave, columns="law", values="score")[[law.name for law in found]]
    drawn = rng.dirichlet(np.ones(len(scores)), RESAMPLES) @ scores.to_numpy() * len(scores)
    weights = _weights(drawn)
    candidates = [_candidate(held_out.loc[held_out.law == law.name], w) for law, w in zip(found, weights)]
    order = np.argsort([-candidate.score for candidate in candidates], kind="stable")
    ranked = tuple(candidates[i] for i in order)
    lead = float(_weights(drawn[:, order[:2]])[0])
    decided = lead >= DECISIVE
    two = [fit_forecast(found[i], table, relax=relax) for i in ([] if decided else order[:2])]
    next_run = distinguishing_run(two, table, [found[i].name for i in order[:2]]) if two else None
    return LawComparison(ranked, held_out, decided, _verdict(ranked, lead, decided, next_run), next_run)


def _weights(scores: np.ndarray) -> np.ndarray:
    """Of laws by their total log scores in resamples [resamples, laws]: [laws]."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)


def default_laws(table: pd.DataFrame) -> list[str]:
    """Laws of the loss over sizes and tokens whose columns the table has, each distinct."""
    return [
        name
        for name, law in LAWS.items()
        if law.target == "loss" and "n_tokens" in law.columns and _feeds(table, law.columns)
    ]


def _feeds(table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether the table has these columns, each of them varies, and no two are the same."""
    if not set(columns) <= set(table) or any(table[name].nunique() < 2 for name in columns):
        return False
    return not table[list(columns)].T.duplicated().any()


def _cuts(table: pd.DataFrame, laws: Sequence[Law], n_cuts: int):
    """(FLOPs, rows below, rows held out) of every cut; all laws can be fitted below and are scored above."""
    flops = table["flops"].to_numpy()
    needed = 2 + max(len((law.relaxed or law).params) for law in laws)
    cuts = []
    for cut in np.unique(np.quantile(flops, np.linspace(*CUTS, n_cuts))):
        below, above = flops <= cut, flops >= BEYOND * cut
        enough = len(table.loc[below].drop_duplicates(["n_params", "n_tokens"])) >= needed
        if enough and above.sum() >= 2:
            cuts.append((float(cut), below, above))
    if not cuts:
        raise ValueError(
            f"comparing laws takes {needed} different runs and two of {BEYOND:g} times their compute; "
            f"among these {len(table)} runs there is no such cut"
        )
    return cuts


def fit_forecast(
    law: Law, table: pd.DataFrame, n_draws: int = 1, seed: int = 0, relax: bool = True
) -> tuple[Law, Forecast]:
    """The form that a law forecasts with, and its forecast from these runs.

    Args:
      table: usable runs, with the law's columns and its target.
      n_draws: of the parameters; seed: of the draws.
      relax: whether that is its relaxed form, where it has one.
    """
    x, y, units = in_units(law, table)
    form = law.relaxed if relax and law.relaxed else law
    return form, forecast(form, x, y, units, n_draws, np.random.default_rng(seed))


def _predict(form: Law, known: Forecast, table: pd.DataFrame | Mapping[str, np.ndarray], level: float):
    return known.predict(form, {name: np.asarray(table[name], float) for name in form.columns}, level)


def _scored(law: Law, relax: bool, below: pd.DataFrame, above: pd.DataFrame, level: float) -> pd.DataFrame:
    """Held-out runs, one row a run, with what was predicted of them."""
    form, known = fit_forecast(law, below, relax=relax)
    predicted, lo, hi = _predict(form, known, above, level)
    loss = above["loss"].to_numpy(float)
    spread = np.log(hi / lo) / (2 * special.stdtrit(known.dof, (1 + level) / 2))
    score = log_density(np.log(loss / predicted), spread, known.dof)
    return pd.DataFrame({
        "row": above.index, "n_params": above["n_params"], "n_tokens": above["n_tokens"],
        "flops": above["flops"], "loss": loss, "predicted": predicted, "lo": lo, "hi": hi,
        "error": predicted / loss - 1, "score": score,
    })  # fmt: skip


def _candidate(held_out: pd.DataFrame, weight: float) -> Candidate:
    inside = (held_out.lo <= held_out.loss) & (held_out.loss <= held_out.hi)
    return Candidate(
        law=held_out.law.iloc[0],
        n_held_out=held_out.row.nunique(),
        median_abs_error=float(held_out.error.abs().median()),
        bias=float(held_out.error.mean()),
        coverage=float(inside.mean()),
        half_width=float(((held_out.hi - held_out.lo) / 2 / held_out.predicted).median()),
        score=float(held_out.score.mean()),
        weight=float(weight),
    )


def distinguishing_run(
    known: Sequence[tuple[Law, Forecast]], table: pd.DataFrame, names: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The cheapest run of a grid of sizes and budgets about which two forecasts clearly disagree.

    Args:
      known: the two, with their forms; names: what they are called, by default as the forms.
      table: the runs behind them: n_params, n_tokens, flops and what else the forms read.

    Returns:
      Its n_params, n_tokens, flops, and by name what each predicts; None if there is none up to a hundred
      times the largest compute.
    """
    flops = table["flops"].to_numpy().max() * np.geomspace(0.1, 100, 13)
    low, high = np.quantile(table["n_tokens"] / table["n_params"], [0.1, 0.9])
    ratios = np.geomspace(low / 3, high * 3, 9)
    budget, tokens_per_param = (grid.ravel() for grid in np.meshgrid(flops, ratios, indexing="ij"))
    n_params = np.sqrt(budget / 6 / tokens_per_param)
    x = {"n_params": n_params, "n_active": n_params, "n_tokens": budget / 6 / n_params}
    last = table.iloc[int(np.argmax(table["flops"]))]
    x |= {c: np.full(len(budget), float(last[c])) for form, _ in known for c in form.columns if c not in x}
    predicted = [_predict(*each, x, 0.68) for each in known]
    spread = np.sqrt(sum((np.log(hi / lo) / 2) ** 2 for _, lo, hi in predicted) / 2)
    clear = np.flatnonzero(np.abs(np.log(predicted[0][0] / predicted[1][0])) > CLEAR * spread)
    if not len(clear):
        return None
    at = clear[np.argmin(budget[clear])]
    place = {name: float(x[name][at]) for name in ("n_params", "n_tokens")} | {"flops": float(budget[at])}
    named = names or [form.name for form, _ in known]
    return place | {name: float(loss[at]) for name, (loss, _, _) in zip(named, predicted)}


def _verdict(ranked: Sequence[Candidate], lead: float, decided: bool, next_run: dict[str, Any] | None) -> str:
    best, second = ranked[:2]
    if decided:
        return (
            f"{best.law} predicts larger runs best, with a median error of {best.median_abs_error:.2%}; "
            f"against {second.law}, which has {second.median_abs_error:.2%}, it weighs {lead:.0%}."
        )
    start = f"These runs cannot tell {best.law} from {second.law}: between the two they weigh {lead:.0%}"
    start += f" and {1 - lead:.0%}"
    if next_run is None:
        return f"{start}; no run up to a hundred times the largest would."
    return (
        f"{start}; a run of N = {next_run['n_params']:.3g} and D = {next_run['n_tokens']:.3g} would: "
        f"{next_run[best.law]:.4f} by the one, {next_run[second.law]:.4f} by the other."
    )
