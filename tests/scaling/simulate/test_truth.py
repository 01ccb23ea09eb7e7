"""The simulator: what it plants is in its tables."""

import numpy as np
import pytest

from scaling.simulate.truth import SimulatedTruth, isoflop_grid, measure, random_truth

PLAIN = SimulatedTruth(E=1.8, A=400.0, B=1500.0, alpha=0.35, beta=0.36, noise=0.0)
BUDGETS = np.geomspace(1e17, 1e19, 5)


def test_a_plain_world_is_chinchillas_law():
    n, d = isoflop_grid(PLAIN, BUDGETS)
    table = measure(PLAIN, n, d, np.random.default_rng(0))
    np.testing.assert_allclose(table.loss, 1.8 + 400 / n**0.35 + 1500 / d**0.36)
    np.testing.assert_allclose(6 * table.n_params * table.n_tokens, np.repeat(BUDGETS, 7))


@pytest.mark.parametrize("reality", [{}, {"bend": 0.1}, {"warmup": 0.1}])
def test_the_best_size_is_the_best(reality):
    truth = SimulatedTruth(1.8, 400.0, 1500.0, 0.35, 0.36, **reality)
    best = truth.best_size(1e19)
    sizes = best * np.exp(np.linspace(-0.5, 0.5, 101))
    losses = truth.loss(sizes, 1e19 / 6 / sizes)
    assert losses.argmin() == 50


def test_each_departure_does_what_it_says():
    n, d = isoflop_grid(PLAIN, BUDGETS, sizes=200)

    def table(**reality):
        truth = SimulatedTruth(1.8, 400.0, 1500.0, 0.35, 0.36, **{"noise": 0.0, **reality})
        return measure(truth, n, d, np.random.default_rng(0))

    plain = table()
    assert np.log(table(noise=0.01).loss / plain.loss).std() == pytest.approx(0.01, rel=0.1)
    cost = np.log(table(mistuned=1.0).loss / plain.loss)
    assert cost.min() >= 0 and cost.mean() == pytest.approx(0.01, rel=0.15)
    assert (table(outliers=0.1).loss > 1.04 * plain.loss).mean() == pytest.approx(0.1, abs=0.03)
    assert len(table(missing=0.3)) == pytest.approx(0.7 * len(plain), rel=0.1)
    lost = table(warmup=0.1).loss / plain.loss - 1
    np.testing.assert_allclose(lost, 0.1 * np.sqrt(1e17 / (6 * n * d)))
    assert (table(uncounted=10.0).n_params < plain.n_params).all()


def test_random_truths_look_like_published_tables():
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth = random_truth(rng, flops=1e19, bend=0.05)
        n = truth.best_size(1e19)
        loss = truth.loss(n, 1e19 / 6 / n)
        assert 0.45 < truth.E / loss < 0.75 and 5 < 1e19 / 6 / n**2 < 60 and truth.bend == 0.05
