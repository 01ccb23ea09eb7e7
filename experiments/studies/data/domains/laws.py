"""The law of transfer in the study of domains: what it says of more data, and what that is worth."""

from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.studies.data.domains.measures import PRETRAINED, at_equal_tokens, widest
from experiments.studies.data.domains.runs import Settings
from experiments.studies.posttraining.laws import fit_law
from scaling.laws import find
from scaling.laws.law import values
from scaling.laws.pretraining.transfer import fraction_transferred, marginal_value, transferred

MORE = 1.1  # the next 10 % of a domain's data
OF_REPEATS = ("data_constrained", "overfitting")


def transfer_laws(settings: Settings, table: pd.DataFrame) -> dict[str, scaling.Fit]:
    """The law of transfer of each domain, over the ladder's runs of equally many passes."""
    rows = at_equal_tokens(settings, table)
    rows = rows[rows["unique_tokens"] <= settings.domain_tokens[-1]]
    rows = rows.assign(pretrained=[PRETRAINED[start] for start in rows["start"]])
    return {
        domain: fit_law(
            pd.DataFrame(rows[rows["domain"] == domain]), "transfer", settings.n_bootstrap, settings.level
        )
        for domain in settings.domains
    }


def forecast(fit: scaling.Fit, n_params: float, unique_tokens: float) -> dict[str, Any]:
    """What the law says of models of this size on so much data: loss, lo and hi by how they start."""
    return {
        start: fit.predict(n_params, unique_tokens=unique_tokens, pretrained=column)._asdict()
        for start, column in PRETRAINED.items()
    }


def transfer(settings: Settings, table: pd.DataFrame, fits: dict[str, scaling.Fit]) -> list[dict[str, Any]]:
    """Of each domain the law's parameters; D_T and its fraction of the effective data by width and part."""
    found = []
    for domain, fit in fits.items():
        at, theta = [], np.array(list(fit.params.values()))
        for (_, n), unique in [
            (size, unique)
            for size in sizes_of(table)
            for unique in (*settings.domain_tokens, settings.verify_tokens)
        ]:
            about = {"n_params": n, "unique_tokens": unique}
            for name, function in (("transferred", transferred), ("fraction", fraction_transferred)):
                draws = function(fit.samples, np.array(n), np.array(unique))
                about[name] = _interval(
                    float(function(theta, np.array(n), np.array(unique))), draws, fit.level
                )
            at.append(about)
        found.append({"domain": domain, "params": fit.params, "ci": fit.ci, "status": fit.status, "at": at})
    return found


def sizes_of(table: pd.DataFrame) -> list[tuple[int, float]]:
    """(width, parameters), from small to large."""
    return sorted({(int(d), float(n)) for d, n in zip(table["d_model"], table["n_params"])})


def compare(settings: Settings, table: pd.DataFrame, said: dict[str, Any]) -> list[dict[str, Any]]:
    """What was predicted of more data, and what came."""
    found = []
    for domain in settings.domains:
        for start in PRETRAINED:
            runs = widest(settings, at_equal_tokens(settings, table), domain=domain, start=start)
            measured = runs.loc[runs["unique_tokens"] == settings.verify_tokens, "loss"].to_numpy(float)
            predicted = said[domain][start]
            inside = int(((predicted["lo"] <= measured) & (measured <= predicted["hi"])).sum())
            about = {
                "measured": measured.tolist(),
                "inside": inside,
                "error": predicted["loss"] / measured.mean() - 1,
            }
            found.append({"domain": domain, "start": start} | predicted | about)
    return found


def value_of_data(
    settings: Settings, table: pd.DataFrame, fits: dict[str, scaling.Fit]
) -> list[dict[str, Any]]:
    """What more of a domain's data would save of its loss, for the widest models on the largest part.

    per_token: -dL/dD_F of the law of transfer, by start. next: what the next 10 % of unique tokens save, read
    as often as the others. repeats: by a law of repeated data of the runs from scratch, what 10 % more tokens
    save if they are new, and if they are more passes over the same.
    """
    now, n = settings.domain_tokens[-1], sizes_of(table)[-1][1]
    found = []
    for domain, fit in fits.items():
        about: dict[str, Any] = {"domain": domain, "per_token": {}, "next": {}}
        theta = np.array([list(fit.params.values())])
        for start, column in PRETRAINED.items():
            each = [marginal_value(t, np.array(n), np.array(now), bool(column)) for t in (theta, fit.samples)]
            about["per_token"][start] = _interval(float(each[0][0]), each[1], fit.level)
            more = [
                saved(
                    "transfer",
                    t,
                    {"n_params": n, "unique_tokens": now, "pretrained": column},
                    "unique_tokens",
                )
                for t in (theta, fit.samples)
            ]
            about["next"][start] = _interval(float(more[0][0]), more[1], fit.level)
        found.append(about | {"repeats": value_of_repeats(settings, table, domain, n, now)})
    return found


def value_of_repeats(
    settings: Settings, table: pd.DataFrame, domain: str, n: float, now: int
) -> dict[str, Any]:
    """Of that law of repeated data which fits better: what 10 % more tokens save, new ones and repeats.

    Args:
      settings: of the study.
      table: its runs.
      domain: whose runs from scratch are fitted, of the ladder.
      n: parameters of the model.
      now: unique tokens that there are.
    """
    rows = table[
        (table["domain"] == domain) & (table["start"] == "scratch") & (table["unique_tokens"] <= now)
    ]
    rows = pd.DataFrame(rows).rename(columns={"read_tokens": "n_tokens"})
    fits = [fit_law(rows, law, settings.n_bootstrap, settings.level) for law in OF_REPEATS]
    fit = min(fits, key=lambda each: each.objective)
    theta = np.array([list(fit.params.values())])
    x = {"n_params": n, "n_tokens": settings.passes * now, "unique_tokens": now}
    about: dict[str, Any] = {"law": fit.law, "params": fit.params, "status": fit.status}
    for name, grown in (("new", ("n_tokens", "unique_tokens")), ("again", ("n_tokens",))):
        each = [saved(fit.law, t, x, *grown) for t in (theta, fit.samples)]
        about[name] = _interval(float(each[0][0]), each[1], fit.level)
    return about


def saved(law: str, theta: np.ndarray, x: dict[str, float], *grown: str) -> np.ndarray:
    """How much lower the loss is where the columns `grown` are 10 % larger, float[thetas].

    Args:
      law: its name.
      theta: [thetas, params].
      x: the law's columns.
      grown: names of some of them.
    """
    columns = {name: np.array([v, v * MORE if name in grown else v], float) for name, v in x.items()}
    loss = values(find(law), theta, columns)
    return loss[:, 0] - loss[:, 1]


def _interval(value: float, draws: np.ndarray, level: float) -> dict[str, float]:
    lo, hi = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return {"value": value, "lo": float(lo), "hi": float(hi)}
