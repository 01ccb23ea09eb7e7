"""Optima of planted sweeps, how far they move, and what the base size's rate costs."""

import numpy as np
import pytest

from scaling.hparams import transfer

RATES = 1e-3 * 2.0 ** np.arange(9)


def sweeps(best_rates, noise=0.0, seed=0, bend=0.03, diverge=np.inf):
    """Losses 2·exp(bend · (log lr - log best)²) with relative noise; infinite from `diverge` on."""
    rng = np.random.default_rng(seed)
    found = []
    for best in best_rates:
        losses = 2 * np.exp(bend * np.log(RATES / best) ** 2 + noise * rng.standard_normal(len(RATES)))
        found.append({float(lr): float(loss) if lr < diverge else np.inf for lr, loss in zip(RATES, losses)})
    return found


def test_planted_optima_and_their_movement_are_found():
    best = [0.064, 0.032, 0.016, 0.008]
    found = transfer(sweeps(best), base=1)
    assert [optimum.lr for optimum in found.optima] == pytest.approx(best, rel=0.02)
    assert [optimum.loss for optimum in found.optima] == pytest.approx([2.0] * 4, rel=1e-3)
    assert found.moves == pytest.approx(8, rel=0.05) and not any(o.at_edge for o in found.optima)


def test_the_base_rate_costs_what_it_loses_elsewhere():
    """At twice or half the best rate exp(0.03 · log²2) - 1, at four times four times as much in the log."""
    found = transfer(sweeps([0.064, 0.032, 0.008]), base=1)
    expected = [np.expm1(0.03 * np.log(2) ** 2), 0, np.expm1(0.03 * np.log(4) ** 2)]
    assert [optimum.base_costs for optimum in found.optima] == pytest.approx(expected, rel=0.05, abs=1e-3)


def test_a_base_rate_that_diverges_elsewhere_costs_everything():
    large = sweeps([0.004], diverge=0.03)[0]
    found = transfer([sweeps([0.064])[0], large], base=0)
    assert found.optima[1].base_costs == np.inf and found.optima[0].base_costs < 1e-3
    assert found.optima[1].lr == pytest.approx(0.004, rel=0.05)


def test_intervals_hold_the_optimum_and_the_movement_under_noise():
    best, held, moved = [0.032, 0.016, 0.008], [], []
    for seed in range(60):
        found = transfer(sweeps(best, noise=0.004, seed=seed), base=0, seed=seed, n_draws=300)
        held += [optimum.lo <= lr <= optimum.hi for lr, optimum in zip(best, found.optima)]
        moved.append(found.lo <= 4 <= found.hi)
    assert np.mean(held) > 0.8 and np.mean(moved) > 0.8


def test_an_optimum_beyond_the_rates_is_flagged():
    found = transfer(sweeps([0.016, 2.0]), base=0)
    assert [optimum.at_edge for optimum in found.optima] == [False, True]


def test_a_size_without_three_finished_rates_is_refused():
    with pytest.raises(ValueError, match="size 1 of 2: 2 finished"):
        transfer([sweeps([0.01])[0], {1e-3: 2.0, 2e-3: 2.1, 4e-3: np.inf}], base=0)
