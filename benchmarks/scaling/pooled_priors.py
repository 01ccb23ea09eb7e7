"""How much of the public tables' errors is hindsight: priors estimated from other publications' tables alone.

    python -m benchmarks.scaling.pooled_priors

The priors of the decoupled form were chosen with extrapolations within public tables seen. Here the two that
decide how far the loss can fall, of the floor E and of the frontier's exponent gamma, are estimated instead:
the form is fitted to every whole table with priors of both that say little, and a publication's tables are
forecast with the mean and the spread over those of the other publications, each publication counting the
same. Splits and scores are those of benchmarks/scaling/backtest.py; the form is alone, not mixed.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from benchmarks.scaling.backtest import LEVEL, MEASURES, scores, splits, tables
from scaling.fitting.fit import in_units
from scaling.fitting.uncertainty import Forecast, forecast
from scaling.laws.law import Law
from scaling.laws.pretraining.chinchilla import CHINCHILLA_DECOUPLED
from scaling.table.runs import check

WIDE = {"E": (0.6, 0.25), "gamma": (0.16, 0.08)}  # priors that say little


def with_priors(priors: dict[str, tuple[float, float]]) -> Law:
    """The decoupled form with other priors of some parameters."""
    law = CHINCHILLA_DECOUPLED
    return replace(law, prior=tuple(priors.get(name, own) for name, own in zip(law.params, law.prior)))


def fitted(law: Law, table: pd.DataFrame) -> Forecast:
    rows = check(table, {}).usable(law.target, law.columns, law.positive).table
    return forecast(law, *in_units(law, rows), 20, np.random.default_rng(0))


def pooled(found: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each parameter over tables, every publication counting the same."""
    weight = 1 / found.groupby("publication")["publication"].transform("size")
    weight /= weight.sum()
    means = {name: float(weight @ found[name]) for name in WIDE}
    return {name: (mean, float(np.sqrt(weight @ (found[name] - mean) ** 2))) for name, mean in means.items()}


def main() -> None:
    public, wide = tables(), with_priors(WIDE)
    found = pd.DataFrame(
        {"publication": name.split()[0]} | dict(zip(wide.params, fitted(wide, table).center))
        for name, table in public.items()
    )
    rows = []
    for name, table in public.items():
        publication = name.split()[0]
        priors = pooled(found[found.publication != publication])
        print(f"{name}: {', '.join(f'{key} {mean:.3f} ± {sd:.3f}' for key, (mean, sd) in priors.items())}")
        for method, law in (("chosen", CHINCHILLA_DECOUPLED), ("pooled", with_priors(priors))):
            for smaller, larger in splits(table):
                at = {column: larger[column].to_numpy(float) for column in law.columns}
                interval = fitted(law, smaller).predict(law, at, LEVEL)
                about = {"priors": method, "publication": publication, "table": name}
                rows.append(about | scores(larger["loss"].to_numpy(float), *interval))
    by_table = pd.DataFrame(rows).groupby(["priors", "publication", "table"])[MEASURES].mean()
    for over in (["priors", "publication"], ["priors"]):
        print(f"\n{by_table.groupby(over).mean().map(lambda share: f'{share:.2%}').to_string()}")


if __name__ == "__main__":
    main()
