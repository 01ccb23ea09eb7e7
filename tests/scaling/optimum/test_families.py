"""Families compared: known laws give the known worth of compute, and the study plans all alike."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.pretraining import families
from scaling.optimum.families import compare
from scaling.table.runs import Runs, check

SHIFT = 1.5  # the better family reaches with C FLOPs what the other does with SHIFT · C


def table(seed: int = 0, noise: float = 0.002) -> pd.DataFrame:
    """Two families under one law, the second as if all of its compute were SHIFT times as much."""
    rng, rows = np.random.default_rng(seed), []
    for family, gain in (("transformer", 1.0), ("moe", SHIFT**0.5)):
        for flops in np.geomspace(1e11, 1.6e12, 5):
            for n_params in np.geomspace(0.3, 3, 5) * 3e4 * (flops / 1e11) ** 0.5:
                n_tokens = flops / (6 * n_params)
                loss = 1.1 + 40 / (gain * n_params) ** 0.4 + 90 / (gain * n_tokens) ** 0.4
                loss *= np.exp(noise * rng.standard_normal())
                n_total = n_params * (3 if family == "moe" else 1)
                rows.append((family, n_total, n_params, n_tokens, flops, loss))
    columns = ["family", "n_params", "n_active", "n_tokens", "flops", "loss"]
    return pd.DataFrame(rows, columns=columns).assign(run_id=[str(i) for i in range(len(rows))])


@pytest.fixture(scope="module")
def found():
    return compare(check(table(), {}), n_bootstrap=200)


def test_worth_of_compute_is_recovered(found):
    """N and D both grow by √SHIFT: the same loss for SHIFT times less compute, at every budget."""
    inner = found.frontiers[found.frontiers.flops.between(1e11, 1.6e12)]
    assert np.abs(inner[inner.family == "moe"].worth / SHIFT - 1).max() < 0.1
    assert (inner[inner.family == "transformer"].worth == 1).all()


@pytest.mark.slow
def test_intervals_of_worth_hold_the_truth_of_most_tables():
    inside = []
    for seed in range(5):
        frontiers = compare(check(table(seed), {}), n_bootstrap=60).frontiers
        middle = frontiers[frontiers.family == "moe"].iloc[12]
        inside.append(middle.worth_lo < SHIFT < middle.worth_hi)
        assert middle.worth_hi / middle.worth_lo < 1.2
    assert sum(inside) >= 4


def test_sizes_are_active_parameters(found):
    """The mixture has three times the parameters, but its law is in those that a token is multiplied with."""
    best = found.frontiers.groupby("family").n_params.last()
    assert best["moe"] == pytest.approx(best["transformer"], rel=0.3)
    gain = found.sizes.pivot(index="n_params", columns="family", values="loss")
    assert (gain.moe < gain.transformer).all()


def test_a_table_without_active_parameters_is_compared_by_its_parameters():
    rows = table().drop(columns=["n_params", "flops"]).rename(columns={"n_active": "n_params"})
    sizes = compare(check(rows, {}), n_bootstrap=20).sizes
    assert sizes["n_params"].min() == rows["n_params"].min()
    assert sizes["n_params"].max() == pytest.approx(rows["n_params"].max())


def test_one_family_is_refused():
    alone = table()[lambda t: t.family == "moe"]
    with pytest.raises(ValueError, match="at least two"):
        compare(Runs(alone))


def test_every_family_gets_the_same_widths_and_budgets():
    settings = families.Settings()
    plans = {name: families.of_family(settings, name) for name in settings.families}
    alike = {dataclasses.replace(plan, family="") for plan in plans.values()}
    assert len(alike) == 1 and alike.pop().grid == settings.grid
    with pytest.raises(ValueError, match="at least two"):
        load_study("families", ['families=["moe"]'])
