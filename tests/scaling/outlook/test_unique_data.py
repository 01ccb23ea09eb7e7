"""What unique tokens are worth: by the formula, by what compute would have bought, and by a fit."""

import numpy as np
import pytest

from scaling.laws import find
from scaling.laws.law import values
from scaling.outlook import unique_data
from scaling.outlook.unique_data import PUBLISHED, data_worth

PRICE = 2e-18  # dollars a FLOP


@pytest.fixture(scope="module")
def table():
    return data_worth(None, PRICE, flops=(1e22, 1e24))


def best_loss(flops: float, unique: float) -> float:
    """The lowest loss over many sizes."""
    n_params = np.geomspace(1e8, 1e13, 200_001)
    x = {"n_params": n_params, "n_tokens": flops / 6 / n_params}
    x["unique_tokens"] = np.full_like(n_params, unique)
    return float(values(find("data_constrained"), np.array([PUBLISHED]), x)[0].min())


def test_so_much_compute_lowers_the_loss_as_much_as_so_many_tokens(table):
    for row in table.to_dict("records"):
        more, loss = 1e-5 * row["unique_tokens"], best_loss(row["flops"], row["unique_tokens"])
        assert row["loss"] == pytest.approx(loss, rel=1e-5)
        by_data = loss - best_loss(row["flops"], row["unique_tokens"] + more)
        by_compute = loss - best_loss(row["flops"] + row["worth_flops"] * more / 1e6, row["unique_tokens"])
        assert by_data == pytest.approx(by_compute, rel=0.02)
        assert by_data == pytest.approx(row["nats"] * more / 1e6, rel=0.02)
        assert row["dollars"] == pytest.approx(PRICE * row["worth_flops"])


def test_the_less_text_there_is_the_more_a_token_is_worth(table):
    for _, rows in table.groupby("flops"):
        assert rows["unique_tokens"].is_monotonic_decreasing and rows["worth_flops"].is_monotonic_increasing
    assert np.isnan(table["dollars_lo"]).all()  # the published law has no draws


def test_text_that_is_not_repeated_is_worth_nothing_more(monkeypatch):
    monkeypatch.setattr(unique_data, "PARTS", (2.0,))
    assert data_worth(None, PRICE, flops=(1e22,))["worth_flops"].item() == pytest.approx(0, abs=1e-6)
