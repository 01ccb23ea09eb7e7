"""What the study `repetition` computes from the table of its runs: both laws, what repeats cost, and words.

A table has a row for each run: weight_decay, d_model, part (tokens of the corpus), epochs, and the columns
of the laws.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.table.runs import check

LAWS = {"data_constrained": ("R_D", "R_N"), "overfitting": ("P", "delta", "kappa")}  # what is theirs


def fits(
    table: pd.DataFrame, n_bootstrap: int, level: float
) -> Iterator[tuple[float, str, pd.DataFrame, scaling.Fit]]:
    """(weight decay, law, its runs, fit) of both laws for each weight decay."""
    for decay in table["weight_decay"].unique():
        rows = pd.DataFrame(table[table["weight_decay"] == decay]).reset_index(drop=True)
        columns = pd.DataFrame(rows[["n_params", "n_tokens", "unique_tokens", "flops", "loss"]])
        for law in LAWS:
            runs = check(columns, {})
            fit = scaling.fit(runs, law=law, n_bootstrap=n_bootstrap, level=level)
            yield decay, law, rows, fit


def in_numbers(decay: float, law: str, rows: pd.DataFrame, fit: scaling.Fit) -> dict[str, Any]:
    """A fit: parameters, intervals, the objective, the median error, and the harm of the law of overfitting.

    Args:
      decay: the runs' weight decay.
      law: one of LAWS.
      rows: the runs.
      fit: of the law to them.
    """
    error = np.median(np.abs(by_law(fit, rows) / rows["loss"].to_numpy(float) - 1))
    about = {"weight_decay": decay, "law": law, "objective": fit.objective, "status": fit.status}
    about |= {"params": fit.params, "ci": fit.ci, "median_error": float(error)}
    return about | (
        {"harm": harm(fit, int(rows["epochs"].to_numpy(float).max().round()))} if law == "overfitting" else {}
    )


def by_law(fit: scaling.Fit, rows: pd.DataFrame) -> np.ndarray:
    """The loss of these runs by a law."""
    x = {name: rows[name].to_numpy(float) for name in ("n_params", "n_tokens", "unique_tokens")}
    return np.asarray(fit.predict(**x).loss)


def with_laws(table: pd.DataFrame, laws: list[tuple[float, str, pd.DataFrame, scaling.Fit]]) -> pd.DataFrame:
    """The runs, with a column for the loss by each law."""
    columns: dict[str, dict[str, float]] = {law: {} for law in LAWS}
    for _, law, rows, fit in laws:
        columns[law] |= dict(zip(rows["run_id"], by_law(fit, rows)))
    return table.assign(**{law: [each[run] for run in table["run_id"]] for law, each in columns.items()})


def harm(fit: scaling.Fit, epochs: int) -> dict[str, Any]:
    """What so many epochs add to the loss under the law of overfitting where N = U, in nats, with draws: one
    number for P, delta and kappa, which are hardly known one by one."""
    names = list(fit.params)
    P, delta = (fit.samples[:, names.index(name)] for name in ("P", "delta"))
    nats = fit.params["P"] * (epochs - 1) ** fit.params["delta"]
    return {"epochs": epochs, "nats": nats, "draws": (P * (epochs - 1) ** delta).tolist()}


def checked(said: dict[str, Any], table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of each weight decay and law: how far off what was said of the longest runs is, how often inside."""
    losses = dict(zip(table["run_id"], table["loss"]))
    for (decay, law), group in itertools.groupby(said["runs"], lambda run: (run["weight_decay"], run["law"])):
        runs = [run | {"loss": losses[run["run_id"]]} for run in group if run["run_id"] in losses]
        if not runs:
            continue
        off = np.array([run["predicted"] / run["loss"] - 1 for run in runs])
        inside = sum(run["lo"] <= run["loss"] <= run["hi"] for run in runs)
        about = {"weight_decay": decay, "law": law, "mean_error": float(off.mean())}
        yield about | {"largest_error": float(np.abs(off).max()), "inside": inside, "runs": len(runs)}


def against_fresh(table: pd.DataFrame) -> pd.DataFrame:
    """weight_decay, part, epochs: what the loss is above that after as many fresh tokens, relative; mean, min
    and max over models."""
    on, table = ["weight_decay", "d_model", "n_tokens"], table.assign(epochs=table["epochs"].round())
    fresh = pd.DataFrame(table.loc[table["epochs"] == 1, [*on, "loss"]])
    both = pd.DataFrame(table[table["epochs"] > 1]).merge(fresh, on=on, suffixes=("", "_fresh"))
    both = both.assign(extra=both["loss"] / both["loss_fresh"] - 1)
    groups = both.groupby(["weight_decay", "part", "epochs"])["extra"]
    return groups.agg(["mean", "min", "max"]).reset_index()


def cost_of_repeats(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of each width, weight decay and part of the corpus: the loss by epochs, and where it is least."""
    for (decay, width, part), group in itertools.groupby(
        table.to_dict("records"), lambda run: (run["weight_decay"], run["d_model"], run["part"])
    ):
        by_epochs = {round(run["epochs"]): run["loss"] for run in group}
        if len(by_epochs) > 1:
            best = min(by_epochs, key=lambda each: by_epochs[each])
            about = {"weight_decay": decay, "d_model": width, "part": part}
            rise = list(by_epochs.values())[-1] - by_epochs[best]
            yield about | {"loss": by_epochs, "best_epochs": best, "rise": rise}


def in_words(found: dict[str, Any], level: float) -> Iterator[str]:
    """What the study says, a line each."""
    for fit in found["laws"]:
        own = ", ".join(_with_interval(name, fit) for name in LAWS[fit["law"]])
        yield (
            f"weight decay {fit['weight_decay']:g}, {fit['law']}: {own}; median error "
            f"{fit['median_error']:.2%}, objective {fit['objective']:.3g}; {fit['status']}"
        )
    for each in found["longest"]:
        yield (
            f"  the longest at weight decay {each['weight_decay']:g}, predicted by {each['law']}: off by "
            f"{each['mean_error']:+.1%} in the mean, {each['largest_error']:.1%} at most, "
            f"{each['inside']} of {each['runs']} inside"
        )
    yield from compared([fit["harm"] | fit for fit in found["laws"] if "harm" in fit], level)
    yield "loss above that of as many fresh tokens, mean over models (least to most):"
    for (decay, part), rows in itertools.groupby(
        found["against_fresh"], lambda row: (row["weight_decay"], row["part"])
    ):
        each = (
            f"{row['epochs']:.0f} epochs {row['mean']:+.1%} ({row['min']:+.1%} to {row['max']:+.1%})"
            for row in rows
        )
        yield f"  weight decay {decay:g}, {part:,} unique: {', '.join(each)}"
    for each in found["repeats"]:
        yield (
            f"  weight decay {each['weight_decay']:g}, {each['d_model']} wide, {each['part']:,} unique "
            f"tokens: lowest after {each['best_epochs']} epochs, {each['rise']:.3f} higher at the end"
        )


def compared(harms: list[dict[str, Any]], level: float) -> Iterator[str]:
    """What repeats add under each weight decay, and its ratio to the first."""
    ends = ((1 - level) / 2, (1 + level) / 2)
    first = np.asarray(harms[0]["draws"])
    for each in harms:
        draws = np.asarray(each["draws"])
        n = min(len(draws), len(first))
        lo, hi = np.quantile(draws, ends)
        words = f"  {each['epochs']} epochs add {each['nats']:.3f} nats [{lo:.3f}, {hi:.3f}] where N = U"
        if each is not harms[0]:
            lo, hi = np.quantile(draws[:n] / first[:n], ends)
            words += f", {each['nats'] / harms[0]['nats']:.2f} [{lo:.2f}, {hi:.2f}] times as much"
        yield f"{words}; weight decay {each['weight_decay']:g}"


def _with_interval(name: str, fit: dict[str, Any]) -> str:
    ends = fit["ci"].get(name)
    return f"{name} {fit['params'][name]:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")
