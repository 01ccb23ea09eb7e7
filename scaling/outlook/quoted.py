"""The scenario "quoted": data centres at the share of the world's electricity that is often named for 2030,
and what that would need."""

from collections.abc import Mapping

import numpy as np

from scaling.outlook.inputs import OutlookInputs

FROM, UNTIL = 2025, 2030  # whose middles it leads from and to
HOURS = 8766.0  # of a year
QUOTED = {  # share: who says so
    0.04: "SemiAnalysis 2024, AI Datacenter Energy Dilemma: 4.5 % of all generation",
    0.1: "between them",
    0.2: "Jones 2018, Nature 561, 163, after Andrae & Edler 2015, Challenges 6, 117: 21 %, of all "
    "communication technology, of which data centres are a third",
}
NEEDS = {  # of such a share, in words
    "twh": "TWh a year",
    "gigawatts": "GW on average",
    "growth": "times a year",
    "gigawatts_a_year": "GW more each year",
    "of_growth": "of the world's new electricity",
    "h100s": "million H100s more, by their draw",
}


def needs(
    share: float, electricity: np.ndarray, sector: np.ndarray, years: np.ndarray, inputs: OutlookInputs
) -> Mapping[str, np.ndarray]:
    """Each of NEEDS in drawn futures [draws].

    Args:
      share: of the world's electricity in UNTIL.
      electricity: of the world, TWh a year [draws, years].
      sector: of all data centres, TWh a year, as the trends have it [draws, years].
      years: of the columns.
      inputs: of the scenario; an H100's draw is that of its year.
    """
    first, last = (int(np.flatnonzero(years == year)[0]) for year in (FROM, UNTIL))
    twh, today = share * electricity[:, last], sector[:, first]
    more = 1000 * (twh - today) / HOURS
    return {
        "twh": twh,
        "gigawatts": 1000 * twh / HOURS,
        "growth": (twh / today) ** (1 / (UNTIL - FROM)),
        "gigawatts_a_year": more / (UNTIL - FROM),
        "of_growth": (twh - today) / (electricity[:, last] - electricity[:, first]),
        "h100s": 1e3 * more / inputs.watts.value,
    }
