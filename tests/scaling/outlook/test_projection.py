"""The forecast: published forecasts from published inputs, closed forms by hand, what a fit adds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.optimum.returns import next_percent
from scaling.outlook.cost import HARDWARE
from scaling.outlook.inputs import CENTRAL, SCENARIOS, OutlookInputs, apply_settings, list_inputs
from scaling.outlook.projection import EVENTS, QUANTITIES, draw_futures, project
from tests.scaling.planted import TRUTH, best_size, isoflop_runs


@pytest.fixture(scope="module")
def outlook():
    return project()


@pytest.fixture(scope="module")
def fit():
    return scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=100)


def in_year(outlook, year, what, scenario="central"):
    row = outlook.table.set_index(["scenario", "year"]).loc[(scenario, year)]
    return row[what], row[f"{what}_lo"], row[f"{what}_hi"]


def when(outlook, event, scenario="central"):
    row = outlook.when.set_index(["scenario", "event"]).loc[(scenario, event)]
    return row["year"], row["year_lo"], row["year_hi"]


def certain(**values) -> dict[str, OutlookInputs]:
    """One scenario whose inputs are all certain, some of them as given."""
    settings = [f"{name}={value.value}" for name, _, value in list_inputs({"central": CENTRAL})]
    settings += [f"{name}={value}" for name, value in values.items()]
    return apply_settings({"central": CENTRAL}, settings)


def test_published_inputs_give_the_published_year_of_exhaustion():
    """Villalobos et al. 2024 (arXiv 2211.04325): used up between 2026 and 2032, median 2028.

    Their code takes the largest data set of 2024 as 3e12 to 13e12 tokens, growing by 10^0.37 a year [95 %:
    10^0.27, 10^0.49]. At 20 tokens a parameter that is a run of 6 D^2 / 20 FLOPs, which grows by the square.
    """
    tokens, growth = np.array([6.24e12, 3e12, 13e12]), 10 ** np.array([0.37, 0.28, 0.47])
    numbers = {"largest_run": 6 * tokens**2 / 20, "compute_growth": growth**2, "tokens_per_param": [20] * 3}
    settings = [f"{name}={value}:{lo}:{hi}" for name, (value, lo, hi) in numbers.items()]
    settings[0] += "@2024"
    scenarios = apply_settings({"central": CENTRAL}, [*settings, "text_stock=3e14:1e14:1e15@2024"])
    year, lo, hi = when(project(scenarios=scenarios), "text")
    assert year == pytest.approx(2028.5, abs=1)
    assert 2026 <= lo <= 2027.5 and 2030.5 <= hi <= 2032.5


def test_text_is_used_up_as_others_say_by_default(outlook):
    year, lo, hi = when(outlook, "text")
    assert 2027.5 < year < 2029.5 and lo > 2026 and hi < 2032


@pytest.mark.parametrize("factor, published", [(5, 2027), (100, 2025)])
def test_overtraining_uses_text_up_sooner(factor, published):
    """Epoch AI 2024, Will we run out of data: 5 times overtrained, by 2027; 100 times, by 2025."""
    scenarios = apply_settings({"central": CENTRAL}, [f"overtraining={factor}"])
    year = when(project(scenarios=scenarios), "text")[0]
    assert published <= year < published + 1


def test_power_is_as_published(outlook):
    """Epoch AI and EPRI 2025: above 100 MW in 2025, 1 to 2 GW by 2028, 4 to 16 GW by 2030."""
    by = [
        np.sqrt(in_year(outlook, y - 1, "megawatts")[0] * in_year(outlook, y, "megawatts")[0])
        for y in (2028, 2030)
    ]
    assert 100 < in_year(outlook, 2025, "megawatts")[0] < 200
    assert 1000 < by[0] < 2000 and 4000 < by[1] < 16000


def test_the_largest_run_of_2025_is_as_published(outlook):
    """Epoch AI 2025 of Grok 4: 310 GWh, 490 million dollars, 154,000 tonnes."""
    for what, published in (("run_twh", 0.310), ("dollars", 490e6), ("tonnes_co2", 154e3)):
        value, lo, hi = in_year(outlook, 2025, what)
        assert lo < published < hi and 0.5 < published / value < 1.5, what


def test_a_billion_dollars_by_2027(outlook):
    """Cottier et al. 2024 (arXiv 2405.21015)."""
    assert in_year(outlook, 2027, "dollars")[0] > 1e9


@pytest.mark.parametrize("scenario, twh", [("slow", 669), ("central", 945), ("fast", 1264)])
def test_data_centres_of_2030_are_the_iea_s(outlook, scenario, twh):
    value, lo, hi = in_year(outlook, 2030, "sector_twh", scenario)
    assert value == pytest.approx(twh, rel=0.01) and lo < twh < hi
    if scenario == "central":  # "just under 3 %"
        assert 0.025 < in_year(outlook, 2030, "sector_share")[0] < 0.03


def test_certain_inputs_give_closed_forms():
    found = project(scenarios=certain(compute_growth=4, text_growth=1), n_draws=3)
    flops = 5e26 * 4 ** (2028 - 2025)
    tokens = np.sqrt(20 * flops / 6)
    hours = flops / (HARDWARE["h100"].peak_flops * 0.4) / 3600
    kwh = hours * 1.26 / 1.4**3
    expected = {
        "flops": flops, "tokens": tokens, "text_stock": 3e14, "stock_share": tokens / 3e14,
        "run_twh": kwh / 1e9, "megawatts": kwh / 24 / min(120 * 1.4**3, 365) / 1000,
        "dollars": hours * 2 / 1.3**3, "tonnes_co2": kwh / 1000 * 0.473 * 0.963**4,
        "sector_twh": 415 * 1.147**4,
    }  # fmt: skip
    for what, value in expected.items():
        assert in_year(found, 2028, what) == pytest.approx((value,) * 3, rel=1e-6), what
    year = 2025.5 + np.log(3e14 / np.sqrt(20 * 5e26 / 6)) / np.log(2)
    assert when(found, "text") == pytest.approx((year,) * 3)


def test_a_fixed_loss_grows_cheaper_by_hardware_and_by_algorithms():
    """Twice as many FLOPs a dollar and half as many FLOPs each year: a quarter of the price."""
    found = project(scenarios=certain(price_growth=2, algorithms_growth=2, fixed_run=4e25), n_draws=2)
    hours = 2e25 / (HARDWARE["h100"].peak_flops * 0.4) / 3600
    assert in_year(found, 2025, "fixed_flops")[0] == pytest.approx(2e25)  # a year after 2024.5
    assert in_year(found, 2025, "fixed_dollars") == pytest.approx((2 * hours,) * 3)
    assert in_year(found, 2028, "fixed_dollars")[0] == pytest.approx(2 * hours / 4**3)


def test_a_quoted_share_of_electricity_needs_what_it_says():
    found = project(scenarios=certain(electricity=30_000, electricity_growth=1.03), n_draws=2).quoted
    row = found.set_index("share").loc[0.2]
    world, before, sector = (30_000 * 1.03**6, 30_000 * 1.03, 415 * 1.147)
    assert row["twh"] == pytest.approx(0.2 * world) and row["growth_lo"] == pytest.approx(row["growth"])
    assert row["growth"] == pytest.approx((0.2 * world / sector) ** 0.2)
    assert row["of_growth"] == pytest.approx((0.2 * world - sector) / (world - before))
    more = (0.2 * world - sector) / 8.766  # GW
    assert row["gigawatts_a_year"] == pytest.approx(more / 5)
    assert row["h100s"] == pytest.approx(1000 * more / 1260)


def test_runs_stop_growing_longer():
    found = draw_futures(certain(longest_run_days=121)["central"], n_draws=1)
    growth = found["megawatts"][0, 1:] / found["megawatts"][0, :-1]
    assert growth[1:] == pytest.approx(4.5 / 1.4, rel=1e-9)


def test_what_never_comes_is_infinite_and_what_has_come_is_now():
    never = project(scenarios=certain(compute_growth=1), n_draws=3)
    assert when(never, "text") == (np.inf,) * 3
    already = project(scenarios=certain(text_stock=1e12), n_draws=3)
    assert when(already, "text") == (2025,) * 3


def test_scenarios_are_in_order_and_intervals_around_medians(outlook):
    last = outlook.table.loc[outlook.table["year"] == 2032].set_index("scenario")
    for what in ("flops", "tokens", "megawatts", "dollars", "tonnes_co2", "sector_twh"):
        assert last.loc["slow", what] < last.loc["central", what] < last.loc["fast", what]
    for what in set(QUANTITIES) - {"loss"}:
        table = outlook.table
        assert (table[f"{what}_lo"] < table[what]).all() and (table[what] < table[f"{what}_hi"]).all()


def test_one_input_moves_only_what_it_feeds(outlook):
    moved = project(scenarios=apply_settings(SCENARIOS, ["text_stock=1e15"]))
    same = [name for name in outlook.table if "stock" not in name]
    pd.testing.assert_frame_equal(moved.table[same], outlook.table[same])
    assert set(EVENTS) == set(outlook.when["event"])


def test_same_seed_same_outlook(outlook):
    pd.testing.assert_frame_equal(project().table, outlook.table)
    assert not project(seed=1).table.equals(outlook.table)


def test_a_fit_gives_tokens_and_loss(fit):
    found = project(fit, certain(), n_draws=200)
    flops = in_year(found, 2026, "flops")[0]
    tokens = flops / (6 * best_size(flops, **TRUTH))
    value, lo, hi = in_year(found, 2026, "tokens")
    assert lo < tokens < hi
    value, lo, hi = in_year(found, 2026, "loss")
    best = (
        TRUTH["E"]
        + TRUTH["A"] / (flops / 6 / tokens) ** TRUTH["alpha"]
        + TRUTH["B"] / tokens ** TRUTH["beta"]
    )
    assert lo < best < hi and value == pytest.approx(best, rel=0.03)


def test_the_next_per_cent_is_priced(fit):
    found = project(fit, certain(), n_draws=50)
    assert found.returns is not None
    row = found.returns.to_dict("records")[3]
    predicted = next_percent(fit, row["flops"])
    assert row["factor"] == pytest.approx(predicted.factor) and row["loss"] == pytest.approx(predicted.loss)
    a_flop = 2.0 / 3600 / (HARDWARE["h100"].peak_flops * 0.4)
    assert row["dollars"] == pytest.approx((predicted.factor - 1) * row["flops"] * a_flop)
    assert found.returns["flops"].min() == pytest.approx(3e19)
    assert "decades of compute beyond" in found.notes[0]


def test_a_fit_without_draws_still_gives_them(fit):
    bare = replace(fit.forecast, samples=fit.forecast.samples[:0])
    found = project(replace(fit, forecast=bare), certain(), n_draws=5)
    value, lo, hi = in_year(found, 2028, "tokens")
    assert value == lo == hi


def test_what_cannot_be_forecast_is_refused(fit):
    with pytest.raises(ValueError, match="n_draws=0"):
        project(n_draws=0)
    with pytest.raises(ValueError, match="0 scenarios"):
        project(scenarios={})
    with pytest.raises(ValueError, match="split a budget"):
        project(replace(fit, forecast=replace(fit.forecast, law="downstream")))
