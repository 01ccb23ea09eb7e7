"""Effects with their directions and sizes in the papers, and whether they hold here."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import scaling
from experiments.studies.posttraining import laws
from scaling.laws.downstream.fact_error import half_exposures

P = 0.01  # below which a direction is held to be shown


def over_seeds(values: Sequence[float], level: float) -> dict[str, Any]:
    """Mean of a number that each seed gives, Student's interval, and the two-sided p-value against 0.

    Raises:
      ValueError: fewer than two seeds.
    """
    found = np.asarray(values, float)
    if len(found) < 2:
        raise ValueError("one seed says nothing of the spread between seeds; give two at least")
    test: Any = stats.ttest_1samp(found, 0.0)
    lo, hi = test.confidence_interval(level)
    value, p = float(found.mean()), float(test.pvalue)
    return {"value": value, "lo": float(lo), "hi": float(hi), "p": p, "seeds": len(found)}


def judged(name: str, paper: str, sign: int, found: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of effects.

    Args:
      name: of the effect, as a difference or slope.
      paper: what its paper says.
      sign: of the number in the paper.
      found: of `over_seeds`.
    """
    shown, same = found["p"] < P, sign * found["value"] > 0
    verdict = ("holds" if same else "the other way") if shown else "not shown"
    return {"effect": name, "paper": paper} | found | {"verdict": verdict}


def by_seed(table: pd.DataFrame, number: Callable[[Any], float]) -> list[float]:
    """The number of each seed's rows."""
    return [float(number(rows)) for _, rows in table.groupby("seed")]


def slope(x: Any, y: Any) -> float:
    """Of the least-squares line; NaN where x does not vary."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else math.nan


def effects(
    errors: pd.DataFrame,
    singletons: pd.DataFrame,
    snowballs: pd.DataFrame,
    taught: pd.DataFrame,
    believed: pd.DataFrame,
    level: float,
) -> pd.DataFrame:
    """All effects, a row each: effect, paper, value, lo, hi, p, seeds, verdict.

    Args:
      errors: by size and exposures, of the sizes that have all seeds.
      singletons: errors over the corpus by rate of singletons.
      snowballs: what follows from own wrong answers.
      taught: after fine-tuning.
      believed: of what was said and told, by way of teaching.
      level: of the intervals.
    """
    fewest, most = (int(n) for n in errors["exposures"].agg(["min", "max"]))
    few, many = (int(n) for n in taught["steps"].agg(["min", "max"]))

    def fall(rows: Any) -> float:
        means = rows.groupby("exposures")["error"].mean()
        return means[fewest] - means[most]

    def of(rows: Any, mix: str, steps: int, name: str, repaired: bool = False) -> float:
        found = rows[(rows["mix"] == mix) & (rows["steps"] == steps) & (rows["repaired"] == repaired)]
        return found[name].iloc[0]

    def between(one: str, other: str, name: str) -> list[float]:
        """What one way of teaching has more of than another."""
        of_ways: Any = believed.pivot(index="seed", columns="way", values=name)
        return (of_ways[one] - of_ways[other]).tolist()

    facts_alone = pd.DataFrame(believed[believed["way"] == "facts"])
    half, none = taught["mix"].drop_duplicates()[1:]
    numbers = [
        (
            f"error at {fewest} exposure less that at {most}",
            "what is read once is made up, what is read 1,000 times is known (2404.05405)",
            1,
            by_seed(errors, fall),
        ),
        (
            "slope of the error over the corpus against its rate of singletons",
            "at least 1, where the bound is tight (2509.04664)",
            1,
            by_seed(singletons, lambda rows: slope(rows["singletons"], rows["wrong"])),
        ),
        (
            "error on what follows: behind the own wrong answer less behind the truth",
            "above 0: models justify their mistake (2305.13534)",
            1,
            by_seed(snowballs, lambda rows: (rows["after_own"] - rows["after_truth"]).mean()),
        ),
        (
            "the same after teaching what follows, from facts alone",
            "above 0: what was said is believed (2305.13534, 2110.10819)",
            1,
            by_seed(facts_alone, lambda rows: (rows["after_own"] - rows["after_truth"]).mean()),
        ),
        (
            "error behind the own wrong answer: taught facts alone less counterfactual, too",
            "above 0: counterfactual data help (2110.10819)",
            1,
            between("facts", "counterfactual", "after_own"),
        ),
        (
            "the same: taught facts alone less counterfactual with own words marked",
            "above 0: what was said is told from what is known (2110.10819)",
            1,
            between("facts", "marked", "after_own"),
        ),
        (
            "error on what follows from what is told: counterfactual less the same with own words marked",
            "above 0: with marks, what is told is still believed (2110.10819)",
            1,
            between("counterfactual", "marked", "of_told"),
        ),
        (
            "own wrong answers that are less likely than the truth when asked apart, less a half",
            "0.17 and 0.37: 0.67 and 0.87 of them are recognised (2305.13534)",
            1,
            by_seed(snowballs, lambda rows: rows["doubted"].mean() - 0.5),
        ),
        (
            "after few steps: share fitted of HighlyKnown facts less of Unknown ones",
            "above 0: unknown ones are fitted slower (2405.05904)",
            1,
            by_seed(taught, lambda r: of(r, half, few, "fitted_known") - of(r, half, few, "fitted_unknown")),
        ),
        (
            "slope of accuracy on known facts against Unknown ones fitted, of all taught",
            "below 0: it falls linearly (2405.05904)",
            -1,
            by_seed(taught, fitted_unknown),
        ),
        (
            "accuracy on known facts: stopped after few steps less after many, all unknown",
            "above 0: early stopping avoids most of the loss (2405.05904)",
            1,
            by_seed(taught, lambda r: of(r, none, few, "accuracy") - of(r, none, many, "accuracy")),
        ),
        (
            "accuracy on known facts: repaired by a few known ones less before",
            "above 0 (2511.02626)",
            1,
            by_seed(taught, lambda r: of(r, none, few, "accuracy", True) - of(r, none, many, "accuracy")),
        ),
    ]
    return pd.DataFrame(
        judged(name, paper, sign, over_seeds(values, level)) for name, paper, sign, values in numbers
    )


def fitted_unknown(rows: Any) -> float:
    """Slope of accuracy on the share of what was taught that was unknown and is fitted; without repairs."""
    rows = rows[~rows["repaired"]]
    fitted = (rows["share_unknown"] * rows["fitted_unknown"]).fillna(0.0)
    return slope(fitted, rows["accuracy"])


def of_larger(errors: pd.DataFrame) -> dict[str, float]:
    """How the largest model was predicted, as `laws.compare` says, against the mean of the next smaller ones
    in the place of its law."""
    by_size: Any = errors.groupby(["n_params", "exposures"], as_index=False)
    means = by_size[["error", "predicted", "lo", "hi"]].mean()
    return laws.compare(means, "n_params", "error", ["exposures"])


def in_words(
    fit: scaling.Fit,
    larger: dict[str, float],
    errors: pd.DataFrame,
    unseen: pd.DataFrame,
    table: pd.DataFrame,
) -> str:
    """What was found, a line each.

    Args:
      fit: of the law.
      larger: of `of_larger`.
      errors: by size and exposures, with predictions.
      unseen: what is said of people nobody has written about.
      table: the effects.
    """
    return "\n".join(_lines(fit, larger, errors, unseen, table))


def _lines(
    fit: scaling.Fit, larger: dict[str, float], errors: pd.DataFrame, unseen: Any, table: pd.DataFrame
) -> Iterator[str]:
    yield f"error = guess / (1 + (exposures / half)^k), half = A N^gamma: {laws.in_words(fit)}"
    sizes: Any = errors.groupby("n_params")
    for n_params, rows in sizes:
        each = rows.groupby("exposures")["error"].mean()
        shown, half = (
            ", ".join(f"{e:.2f} at {n}" for n, e in each.items()),
            half_exposures(fit.params, n_params),
        )
        yield f"  {n_params:>7,} parameters: half at {half:.0f} exposures; {shown}"
    yield (
        f"the largest, predicted before it read: {larger['rms_error']:.3f} off (RMS; "
        f"{larger['rms_unchanged']:.3f} if it did as the next smaller one), {larger['inside']:.0%} inside "
        f"the {fit.level:.0%} intervals"
    )
    yield (
        f"about people nobody has written about: a value is stated with probability "
        f"{unseen['stated'].mean():.2f}, and the likeliest is wrong for {unseen['wrong'].mean():.2f} of them"
    )
    for row in table.to_dict("records"):
        yield f"{row['effect']}: {row['value']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}], p = {row['p']:.2g}"
        yield f"  paper: {row['paper']}. Here it {SAID[row['verdict']]}."


SAID = {"holds": "holds", "not shown": "is not shown", "the other way": "is the other way round"}
