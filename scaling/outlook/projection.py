"""Bottlenecks of ever larger runs: human text, power, electricity, money and carbon, by scenario.

Futures are drawn from the intervals of the inputs (scaling/outlook/inputs.py), and in each the trends go on.
Nothing feeds back: that a trend asks for more than there is, and when, is the answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from scaling.fitting.result import Fit
from scaling.optimum.frontier import best_sizes, losses, spending
from scaling.optimum.returns import next_percent
from scaling.outlook.cost import cost
from scaling.outlook.inputs import SCENARIOS, OutlookInputs
from scaling.outlook.quoted import HOURS, QUOTED, needs
from scaling.outlook.unique_data import ENDLESS, data_worth, reads_unique_tokens

LEVEL = 0.9
MAX_DRAWS = 100_000
YEARS = np.arange(2025, 2061)  # whose middles are followed
SHOWN = YEARS[:8]  # those of the table
BUDGETS = 30  # of the price of the next per cent
QUANTITIES = {  # of the largest run, and of what there is
    "flops": "compute of the largest run, FLOPs",
    "tokens": "its tokens at the optimum",
    "text_stock": "human text, tokens",
    "stock_share": "of human text",
    "megawatts": "its power, MW",
    "power_share": "of the power of all data centres",
    "run_twh": "its electricity, TWh",
    "run_share": "of the world's in a year",
    "dollars": "its price, $",
    "tonnes_co2": "its carbon, t CO2",
    "loss": "best loss, nats per token",
    "fixed_flops": "compute for the loss of fixed_run",
    "fixed_dollars": "price of that loss, $",
    "sector_twh": "all data centres, TWh a year",
    "sector_share": "of the world's electricity",
}
EVENTS = {  # name: what reaches which value, in words
    "text": ("stock_share", 1.0, "a run takes as many tokens as there are of human text"),
    "power_tenth": ("power_share", 0.1, "a run draws a tenth of the power of all data centres"),
    "power_all": ("power_share", 1.0, "a run draws as much power as all data centres"),
}


@dataclass(frozen=True, eq=False)
class Outlook:
    """A projection. Intervals are of 90 %.

    Attributes:
      table: scenario, year, and of each of QUANTITIES the median and _lo, _hi, in the middle of the year or
        over all of it; `loss` only with a fit.
      when: scenario, event (a key of EVENTS), and the year of it with _lo, _hi, 2028.5 being the middle of
        2028; infinite: not before 2060.
      returns: with a fit, over budgets `flops`: the best loss, the factor by which compute must grow for 1 %
        less, and the dollars of that growth at the central scenario's prices; _lo and _hi of both are the
        uncertainty of the law.
      quoted: share of the world's electricity in 2030, as is often said, and each of quoted.NEEDS that it
        has, with _lo and _hi, in the central scenario.
      data_worth: what one more unique token is worth, see `unique_data.data_worth`, at the central scenario's
        prices.
      scenarios: the inputs of each.
      notes: what to keep in mind.
    """

    table: pd.DataFrame
    when: pd.DataFrame
    returns: pd.DataFrame | None
    quoted: pd.DataFrame
    data_worth: pd.DataFrame
    scenarios: Mapping[str, OutlookInputs]
    notes: tuple[str, ...]


def project(
    fit: Fit | None = None,
    scenarios: Mapping[str, OutlookInputs] = SCENARIOS,
    n_draws: int = 2000,
    seed: int = 0,
) -> Outlook:
    """What the largest run needs in each year, and when that becomes too much.

    Args:
      fit: its frontier gives the tokens at the compute optimum, in place of tokens_per_param, and the loss.
      scenarios: the inputs of each, by name.
      n_draws: futures drawn; seed: what they are drawn with.

    Raises:
      ValueError: no futures or too many, no scenarios, or a fit that cannot split a budget into size and
        tokens.
    """
    if n_draws < 1 or not scenarios:
        raise ValueError(f"n_draws={n_draws}, {len(scenarios)} scenarios; expected at least one of each")
    if n_draws > MAX_DRAWS:
        raise ValueError(f"n_draws={n_draws}; at most {MAX_DRAWS:,}, from which no quantile gains any more")
    rows, events, shares, middle = [], [], [], central(scenarios)
    for name, inputs in scenarios.items():
        drawn = draw_futures(inputs, n_draws, seed, fit)
        for i, year in enumerate(SHOWN):
            quantiles = {what: _quantiles(drawn[what][:, i]) for what in QUANTITIES if what in drawn}
            rows.append({"scenario": name, "year": int(year), **_flat(quantiles)})
        for event, (what, value, _) in EVENTS.items():
            when = _quantiles(_first_year(drawn[what] / value))
            events.append({"scenario": name, "event": event, **_flat({"year": when})})
        if name == middle:
            electricity = drawn["sector_twh"] / drawn["sector_share"]
            for share in QUOTED:
                found = needs(share, electricity, drawn["sector_twh"], YEARS, inputs)
                quantiles = {what: _quantiles(values) for what, values in found.items()}
                shares.append({"share": share, **_flat(quantiles)})
    table, returns, notes, inputs = pd.DataFrame(rows), None, (), scenarios[middle]
    if fit is not None:
        largest = float(table.loc[table["scenario"] == middle, "flops"].to_numpy()[-1])
        returns, notes = _returns(fit, inputs, largest)
    worth = data_worth(fit, dollars_of(1.0, inputs))
    return Outlook(table, pd.DataFrame(events), returns, pd.DataFrame(shares), worth, dict(scenarios), notes)


def dollars_of(flops: Any, inputs: OutlookInputs) -> Any:
    """The price of FLOPs at a scenario's medians, in the year of its prices."""
    return cost(flops, "h100", mfu=inputs.mfu.value).device_hours * inputs.dollars_per_hour.value


def central(names: Iterable[str]) -> str:
    """The scenario that stands for all where only one is shown."""
    known = list(names)
    return "central" if "central" in known else known[0]


def draw_futures(
    inputs: OutlookInputs, n_draws: int = 2000, seed: int = 0, fit: Fit | None = None
) -> dict[str, np.ndarray]:
    """Each of QUANTITIES in drawn futures [draws, YEARS]. The same seed draws alike in every scenario.

    Args:
      inputs: of one scenario.
      n_draws: futures drawn; seed: what they are drawn with.
      fit: as in `project`.
    """
    drawn = {
        field.name: getattr(inputs, field.name).draw(
            np.random.default_rng([seed, i]).standard_normal((n_draws, 1))
        )
        for i, field in enumerate(fields(inputs))
    }

    def growth(rate: str, of: str) -> np.ndarray:
        return drawn[rate] ** (YEARS + 0.5 - getattr(inputs, of).year)

    def grown(amount: str, rate: str) -> np.ndarray:
        return drawn[amount] * growth(rate, of=amount)

    flops = grown("largest_run", "compute_growth")
    tokens, loss = _optimum(fit, flops, drawn["tokens_per_param"], seed)
    tokens = tokens * np.sqrt(drawn["overtraining"])  # k times D / N at the same N D
    h100_hours = cost(flops, "h100", mfu=1.0).device_hours / drawn["mfu"]
    kwh = h100_hours * drawn["watts"] / 1000 / growth("efficiency_growth", of="watts")
    days = np.minimum(grown("run_days", "run_days_growth"), drawn["longest_run_days"])
    sector = grown("data_centres", "data_centres_growth")
    electricity = grown("electricity", "electricity_growth")
    megawatts = kwh / (24 * days) / 1000
    stock = grown("text_stock", "text_growth")
    an_hour = drawn["dollars_per_hour"] / growth("price_growth", of="dollars_per_hour")
    fixed = drawn["fixed_run"] / growth("algorithms_growth", of="fixed_run")
    fixed_hours = cost(fixed, "h100", mfu=1.0).device_hours / drawn["mfu"]
    found = {
        "flops": flops,
        "tokens": tokens,
        "text_stock": stock,
        "stock_share": tokens / stock,
        "megawatts": megawatts,
        "power_share": megawatts / (sector * 1e6 / HOURS),
        "run_twh": kwh / 1e9,
        "run_share": kwh / 1e9 / electricity,
        "dollars": h100_hours * an_hour,
        "tonnes_co2": kwh * grown("kg_co2_per_kwh", "carbon_growth") / 1000,
        "sector_twh": sector,
        "sector_share": sector / electricity,
        "fixed_flops": fixed,
        "fixed_dollars": fixed_hours * an_hour,
    }
    return found if loss is None else {**found, "loss": loss}


def _optimum(
    fit: Fit | None, flops: np.ndarray, tokens_per_param: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Tokens at the compute optimum and, by a fit, the loss there; each future has one of the law's draws.

    Without a fit C = 6·N·D and D = r·N, so D = sqrt(r C / 6).
    """
    if fit is None:
        return np.sqrt(tokens_per_param * flops / 6), None
    spend = spending(fit, **_terms(fit))
    theta = fit.forecast.samples if len(fit.forecast.samples) else fit.forecast.theta[None]
    theta = theta[np.random.default_rng(seed).integers(len(theta), size=len(flops))]
    n_params = best_sizes(spend, theta, flops)
    if not np.isfinite(n_params).all():
        raise ValueError(
            f"the law {fit.law} knows no best size at {flops.max():.2g} FLOPs; forecast without --fit"
        )
    return spend.n_tokens(n_params, flops), losses(spend, theta, n_params, flops)


def _terms(fit: Fit) -> dict[str, Any]:
    """What a budget of new text is spent on: a law that reads unique tokens has as many as it likes."""
    return {"unique_tokens": ENDLESS} if reads_unique_tokens(fit) else {}


def _returns(fit: Fit, inputs: OutlookInputs, largest: float) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The price of the next per cent from the fit's own largest run to `largest`, and how far that is."""
    spend = spending(fit, **_terms(fit))
    sizes, tokens = (fit.forecast.x[name] * fit.forecast.units[name] for name in (spend.size, "n_tokens"))
    seen = 6 * float(np.max(sizes * tokens))
    flops = np.geomspace(seen, max(largest, 10 * seen), BUDGETS)
    gain = next_percent(fit, flops, **_terms(fit))
    dollars = dollars_of(flops, inputs)
    found = {"flops": flops, "loss": gain.loss}
    for end, factor in {
        "": gain.factor,
        "_lo": gain.factor_lo,
        "_hi": gain.factor_hi,
    }.items():
        found |= {f"factor{end}": factor, f"dollars{end}": (factor - 1) * dollars}
    far = f"the law is carried {np.log10(flops[-1] / seen):.0f} decades of compute beyond its largest run"
    return pd.DataFrame(found), (far,)


def _first_year(share: np.ndarray) -> np.ndarray:
    """When each row [draws, YEARS] first reaches 1; its logarithm is a line from year to year."""
    log = np.log(share)
    reached = log >= 0
    after = np.maximum(reached.argmax(axis=1), 1)
    rows = np.arange(len(log))
    low, high = log[rows, after - 1], log[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        year = YEARS[after] + 0.5 - np.where(high > low, high / (high - low), 0.0)
    return np.where(reached[:, 0], YEARS[0], np.where(reached.any(axis=1), year, np.inf))


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    """Median and both ends of the interval, each one of the values: some may be infinite."""
    tail = (1 - LEVEL) / 2
    median, lo, hi = np.quantile(values, [0.5, tail, 1 - tail], method="inverted_cdf")
    return float(median), float(lo), float(hi)


def _flat(quantiles: Mapping[str, tuple[float, float, float]]) -> dict[str, float]:
    return {
        f"{name}{end}": value
        for name, three in quantiles.items()
        for end, value in zip(("", "_lo", "_hi"), three)
    }
