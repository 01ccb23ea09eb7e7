"""Prices of a site file: kept with a study, and what work comes to."""

import pytest

from launch.monitor import prices
from launch.store import Store


def test_prices_stay_with_the_study_until_others_are_given(tmp_path):
    store = Store(tmp_path)
    store.create()
    assert prices.read(store) == {}
    prices.note(store, {"per_hour": 2.5, "currency": "EUR"})
    prices.note(store, {"per_hour": 3, "watts": 700.0})
    assert prices.read(store) == {"per_hour": 3, "watts": 700.0}


@pytest.mark.parametrize(
    "table, said",
    [
        ({"per_houre": 1}, "there is no such price; known are per_hour, currency, watts"),
        ({"watts": -1}, "watts=-1"),
        ({"per_hour": "2 EUR"}, "expected a number"),
        ({"currency": 3}, "expected a name"),
    ],
)
def test_wrong_prices_are_refused(tmp_path, table, said):
    with pytest.raises(ValueError, match=said):
        prices.note(Store(tmp_path), table)


def test_hours_always_money_and_energy_where_prices_say():
    assert prices.words(7200, {}) == "2 worker-hours" and prices.words(3600, {}) == "1 worker-hour"
    assert prices.words(7200, {"per_hour": 2.5, "currency": "EUR"}) == "2 worker-hours, 5 EUR"
    assert prices.words(7200, {"watts": 700}) == "2 worker-hours, 1.4 kWh"
