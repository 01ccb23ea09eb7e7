"""The inputs of the outlook: each with its interval, unit, year and source.

As published, but for what is called a guess. Every input can be changed:
`apply_settings(SCENARIOS, ["text_stock=1e15"])`, or `isoflop forecast --set text_stock=1e15`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from scaling.outlook.cost import HARDWARE, KG_CO2_PER_KWH, MFU, PUE
from scaling.table.number_text import read_numbers

FASTEST = 100.0  # times a year that anything may grow or shrink
Z = 1.6449  # standard normal numbers lie between -Z and Z nine times in ten


@dataclass(frozen=True)
class Input:
    """A positive number that is known roughly.

    Attributes:
      value, lo, hi: median and 90 % interval. Its logarithm is normal on either side of the median.
      year: when it holds; the middle of 2025, and what is of all 2025, is 2025.5. None: it does not change.

    Raises:
      ValueError: the numbers are not positive, finite and in order.
    """

    value: float
    lo: float
    hi: float
    unit: str
    source: str
    year: float | None = None

    def __post_init__(self):
        if not (0 < self.lo <= self.value <= self.hi < np.inf):
            raise ValueError(
                f"value {self.value:g}, interval {self.lo:g} to {self.hi:g}: expected positive, finite "
                "numbers in order"
            )

    def draw(self, normal: np.ndarray) -> np.ndarray:
        """The input by standard normal numbers."""
        side = np.where(normal < 0, np.log(self.value / self.lo), np.log(self.hi / self.value))
        return self.value * np.exp(side * normal / Z)


# fmt: off
_A_YEAR = "times a year"
_GROK = "Epoch AI 2025, of Grok 4 (July 2025)"
_H100 = HARDWARE["h100"]


@dataclass(frozen=True)
class OutlookInputs:
    """The inputs. Amounts hold at their year and grow by the rate named after them.

    Raises:
      ValueError: an mfu above 1, or a number that no trend can be of.
    """

    largest_run: Input = Input(
        5e26, 3e26, 8e26, "FLOPs", f"{_GROK}, the largest run it knew of; interval: guess", 2025.5)
    compute_growth: Input = Input(
        4.5, 4.0, 5.0, _A_YEAR,
        "Epoch AI 2024, Training compute of frontier AI models grows by 4-5x per year")
    tokens_per_param: Input = Input(
        20.0, 10.0, 40.0, "tokens",
        "at the compute optimum, Hoffmann et al. 2022, arXiv 2203.15556; interval: guess")
    overtraining: Input = Input(
        1.0, 1.0, 1.0, "of the optimum",
        "tokens a parameter over those of the optimum, at equal compute; 1 is the optimum")
    text_stock: Input = Input(
        3e14, 1e14, 1e15, "tokens",
        "public human text, by quality and repetition, Villalobos et al. 2024, arXiv 2211.04325", 2024.5)
    text_growth: Input = Input(
        1.08, 1.02, 1.14, _A_YEAR,
        "0 to 10 % more pages, each 2 to 4 % longer, Villalobos et al. 2024 (epoch-research/data-stock)")
    mfu: Input = Input(
        MFU, 0.3, 0.5, "of the peak",
        "0.38 to 0.43 in Llama 3 405B (arXiv 2407.21783), 0.46 in PaLM (arXiv 2204.02311); interval: guess")
    watts: Input = Input(
        1260.0, 770.0, 1700.0, "W per H100",
        f"at the meter, 310 GWh over 246 million H100-hours, {_GROK}; low: {_H100.watts:g} W at a PUE of "
        f"{PUE}; high: peak of its server, Epoch AI 2024, Can AI scaling continue through 2030?", 2025.5)
    efficiency_growth: Input = Input(
        1.4, 1.3, 1.5, _A_YEAR,
        "FLOPs a joule of leading hardware, 1.4 to 1.5, Epoch AI 2024-25; interval: guess")
    run_days: Input = Input(
        120.0, 60.0, 200.0, "days", "guess: beyond the 54 that Llama 3 405B reports on", 2025.5)
    run_days_growth: Input = Input(
        1.4, 1.3, 1.5, _A_YEAR,
        "Epoch AI 2025, Frontier training runs will likely stop getting longer by around 2027")
    longest_run_days: Input = Input(
        365.0, 270.0, 450.0, "days",
        "9 months are the most worth while, Epoch AI 2025, as above; 15, Epoch AI 2022; guess: between them")
    dollars_per_hour: Input = Input(
        2.0, 1.2, 3.5, "$ per H100-hour",
        f"owned: 490 million $, 246 million H100-hours, {_GROK}; interval: guess, high is rent", 2025.5)
    price_growth: Input = Input(
        1.3, 1.2, 1.45, _A_YEAR,
        "FLOPs a dollar, Epoch AI 2024, Machine learning hardware; high: doubling in 2 years, Epoch AI 2022")
    kg_co2_per_kwh: Input = Input(
        KG_CO2_PER_KWH, 0.3, 0.55, "kg per kWh",
        "of the world, Ember, Global Electricity Review 2025; interval: guess", 2024.5)
    carbon_growth: Input = Input(
        0.963, 0.94, 0.99, _A_YEAR,
        "demand 3.9 % up, emissions flat to 2027, IEA, Electricity 2025; interval: guess")
    data_centres: Input = Input(
        415.0, 370.0, 460.0, "TWh a year", "of all kinds, IEA, Energy and AI, 2025; interval: guess", 2024.5)
    data_centres_growth: Input = Input(
        1.147, 1.12, 1.175, _A_YEAR,
        "to 945 TWh in 2030, IEA, Energy and AI, 2025, base case; interval: guess")
    electricity: Input = Input(
        29000.0, 27500.0, 31000.0, "TWh a year",
        "of the world: 27,700 if 415 are 1.5 % (IEA), 30,856 with losses (Ember 2025)", 2024.5)
    electricity_growth: Input = Input(
        1.035, 1.025, 1.04, _A_YEAR, "1.039 to 2027, IEA, Electricity 2025; 1.025 in 2014-2023, Ember 2025")
    fixed_run: Input = Input(
        3.8e25, 3.8e25, 3.8e25, "FLOPs",
        "whose loss is the fixed one: Llama 3 405B, Grattafiori et al. 2024, arXiv 2407.21783", 2024.5)
    algorithms_growth: Input = Input(
        2.83, 1.81, 5.28, _A_YEAR,
        "compute for a loss halves in 8 months [95 %: 5 to 14], Ho et al. 2024, arXiv 2403.05812; at NeurIPS "
        "[90 %: 2 to 22]")

    def __post_init__(self):
        if self.mfu.hi > 1:
            raise ValueError(f"mfu={self.mfu.hi:g}; it is a share of the peak, at most 1")
        for name, value in vars(self).items():
            if name.endswith("_growth") and not (value.lo >= 1 / FASTEST and value.hi <= FASTEST):
                raise ValueError(f"{name}={value.hi:g}; it is times a year, {1 / FASTEST:g} to {FASTEST:g}")
            if not (value.lo >= 1e-30 and value.hi <= 1e60):
                raise ValueError(f"{name}={value.hi:g}; it is from 1e-30 to 1e60")


CENTRAL = OutlookInputs()
SCENARIOS = {
    "slow": replace(
        CENTRAL,
        compute_growth=Input(
            2.5, 1.7, 3.5, _A_YEAR,
            "guess: less than spending's 2.4 (Cottier et al. 2024, arXiv 2405.21015) times price_growth"),
        data_centres_growth=Input(
            1.083, 1.06, 1.11, _A_YEAR,
            "to 669 TWh in 2030, IEA, Energy and AI, 2025, Headwinds; interval: guess"),
    ),
    "central": CENTRAL,
    "fast": replace(
        CENTRAL,
        compute_growth=Input(
            5.5, 5.0, 6.5, _A_YEAR, "guess: more than the 5 of language models since 2020 (Epoch AI 2024)"),
        data_centres_growth=Input(
            1.204, 1.17, 1.24, _A_YEAR,
            "to 1264 TWh in 2030, IEA, Energy and AI, 2025, Lift-Off; interval: guess"),
    ),
}
# fmt: on
NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+|[kKmMbBtT])?"


def apply_settings(
    scenarios: Mapping[str, OutlookInputs], settings: Iterable[str]
) -> dict[str, OutlookInputs]:
    """The scenarios with other inputs.

    Args:
      settings: each NAME=VALUE, for a value that is certain, or NAME=VALUE:LO:HI, and maybe @YEAR; without it
        the input's own year stays. NAME is for all scenarios, SCENARIO.NAME for one.

    Raises:
      ValueError: an unknown input or scenario, or a setting that is not of this form.
    """
    found = dict(scenarios)
    for setting in settings:
        where, _, text = setting.partition("=")
        scenario, dot, name = where.strip().rpartition(".")
        if dot and scenario not in scenarios:
            raise ValueError(f"{setting}: unknown scenario {scenario!r}; there are {', '.join(scenarios)}")
        known = [field.name for field in fields(OutlookInputs)]
        if name not in known:
            raise ValueError(f"{setting}: unknown input {name!r}; there are {', '.join(known)}")
        for one in [scenario] if dot else found:
            try:
                given = _parsed(text.strip(), getattr(found[one], name))
                found[one] = replace(found[one], **{name: given})
            except ValueError as error:
                raise ValueError(f"{setting}: {error}") from error
    return found


def _number(text: str) -> float:
    return float(read_numbers([text])[0][0])


def _parsed(text: str, before: Input) -> Input:
    match = re.fullmatch(rf"({NUMBER})(?::({NUMBER}):({NUMBER}))?(?:@({NUMBER}))?", text)
    if not match:
        raise ValueError("expected NAME=VALUE or NAME=VALUE:LO:HI, such as 3e14:1e14:1e15; @YEAR may follow")
    value, lo, hi, year = match.groups()
    if year and before.year is None:
        raise ValueError("this input is of no year")
    return Input(
        value=_number(value),
        lo=_number(lo or value),
        hi=_number(hi or value),
        unit=before.unit,
        source="given",
        year=float(year) if year else before.year,
    )


def list_inputs(scenarios: Mapping[str, OutlookInputs]) -> list[tuple[str, str, Input]]:
    """(name, scenario, input) of all inputs; once, as of scenario "all", where they are the same in all."""
    found = []
    for field in fields(OutlookInputs):
        values = {scenario: getattr(inputs, field.name) for scenario, inputs in scenarios.items()}
        if len(set(values.values())) == 1:
            values = {"all": next(iter(values.values()))}
        found += [(field.name, scenario, value) for scenario, value in values.items()]
    return found
