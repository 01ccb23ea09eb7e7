"""What consistency depends on and tells: differences with intervals and p-values, and in words."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from experiments.evaluate.statistics.intervals import mean

DETECTORS = ("exact", "sampled", "wordings", "probability", "spearman")


def effects(table: pd.DataFrame, level: float) -> dict[str, dict[str, float]]:
    """Paired differences, each of a model (width and seed) on its own facts: {"mean", "lo", "hi", "p",
    "n"}, with a two-sided t-test over models.

    hotter: agreement at temperature 1 less that at 0.5, of all facts. known: at temperature 1, agreement
    on facts of most exposures less that on facts of fewest. unseen: fewest exposures less people in no
    document. larger: the largest width less the smallest, of one seed, at most exposures. held_out, slips:
    agreement between the first wording and the third, or a slip, less that within the first, of facts of
    most exposures.

    Args:
      table: of the study.
      level: of the intervals.
    """
    asked = table[table["questioned"]]
    most, least = asked["exposures"].max(), asked["exposures"].min()
    keys = ["d_model", "seed"]

    def at(rows: Any, temperature: float, name: str = "agreement") -> Any:
        return rows[rows["temperature"] == temperature].groupby(keys)[name].mean()

    top, bottom = asked[asked["exposures"] == most], asked[asked["exposures"] == least]
    by_width = at(top, 1.0).unstack("seed")
    found = {
        "known": at(top, 1.0) - at(bottom, 1.0),
        "unseen": at(bottom, 1.0) - at(table[table["exposures"] == 0], 1.0),
        "larger": by_width.iloc[-1] - by_width.iloc[0],
        "held_out": at(top, 1.0, "held_out_wording") - at(top, 1.0),
        "slips": at(top, 1.0, "slips") - at(top, 1.0),
        "slips, greedy": at(top, 0.0, "slips") - 1,
    }
    if 0.5 in set(table["temperature"]):
        found["hotter"] = at(asked, 1.0) - at(asked, 0.5)
    return {name: _tested(np.asarray(values, float), level) for name, values in found.items()}


def _tested(values: np.ndarray, level: float) -> dict[str, float]:
    one = mean(values + 0.0, level=level)
    p = float(ttest_1samp(values, 0).pvalue) if np.ptp(values) > 1e-9 else math.nan  # type: ignore[attr-defined]
    return {"mean": one.value, "lo": one.lo, "hi": one.hi, "p": p, "n": len(values)}


def detection(table: pd.DataFrame, level: float) -> dict[str, dict[str, dict[str, float]]]:
    """By width, how well each score of DETECTORS tells right from wrong, {"mean", "lo", "hi", "p", "n"} over
    seeds; p against 0.5, of the rank correlation against 0."""
    models: Any = table.drop_duplicates(["d_model", "seed"])
    made: dict[str, dict[str, dict[str, float]]] = {}
    for width, rows in models.groupby("d_model"):
        made[str(width)] = {}
        for name in DETECTORS:
            chance = 0.0 if name == "spearman" else 0.5
            one = _tested(rows[f"detection_{name}"].to_numpy(float) - chance, level)
            made[str(width)][name] = one | {each: one[each] + chance for each in ("mean", "lo", "hi")}
    return made


def in_words(table: pd.DataFrame, found: dict[str, Any], laid_out: pd.DataFrame, level: float) -> str:
    """The conclusion.

    Args:
      table: of the study.
      found: what was summed up.
      laid_out: rows of the law: target, n_params, n_planted, nats, predicted, lo, hi.
      level: of the intervals.
    """
    largest = table[table["d_model"] == table["d_model"].max()]
    lines = ["of the largest width at temperature 1, means over seeds (first wording):"]
    lines.append("  exposures  asked  agreement  entropy  accuracy  held-out wording  slip")
    some: Any = largest[largest["temperature"] == 1]
    for (n, asked), rows in some.groupby(["exposures", "questioned"]):
        one = rows.mean(numeric_only=True)
        kind = "no document" if n == 0 else f"{n:.0f} an epoch"
        lines.append(
            f"  {kind:>11} {'yes' if asked else 'no':>4} {one['agreement']:>10.2f} {one['entropy']:>8.2f} "
            f"{one['accuracy']:>9.2f} {one['held_out_wording']:>17.2f} {one['slips']:>5.2f}"
        )
    lines.append(f"differences of agreement [{level:.0%} interval over models]:")
    for name, one in found["effects"].items():
        lines.append(
            f"  {name}: {one['mean']:+.3f} [{one['lo']:+.3f}, {one['hi']:+.3f}], p={one['p']:.1g}, "
            f"{one['n']} models"
        )
    lines.append("does consistency tell right from wrong (AUROC; spearman: rank correlation), largest width:")
    for name, one in found["detection"][str(table["d_model"].max())].items():
        lines.append(f"  {name}: {one['mean']:.3f} [{one['lo']:.3f}, {one['hi']:.3f}], p={one['p']:.1g}")
    lines.append("the largest width, predicted before it was trained:")
    last: Any = laid_out[laid_out["n_params"] == laid_out["n_params"].max()]
    for (target, n), rows in last.groupby(["target", "n_planted"]):
        one = rows.iloc[0]
        came = ", ".join(f"{value:.2f}" for value in rows["nats"])
        said = f"{one['predicted']:.2f} [{one['lo']:.2f}, {one['hi']:.2f}]"
        lines.append(f"  {target}, {n:.0f} an epoch: {said}, came {came}")
    for target, one in found["verified"].items():
        lines.append(
            f"  {target}: {one['inside']:.0%} inside the interval; {one['rms_error']:.3f} off (RMS), and "
            f"{one['rms_unchanged']:.3f} if it did as the next smaller width"
        )
    return "\n".join(lines)
