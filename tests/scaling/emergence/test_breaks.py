"""Breaks of a smooth metric: as strict as stated on smooth curves, found where planted."""

import numpy as np
import pytest

from scaling.emergence import breaks

SCALE = np.geomspace(1e18, 1e24, 12)
U = np.linspace(-1, 1, 12)
SMOOTH = {
    "power law": 0.5 * np.exp(-1.1 * U),
    "with a floor": 0.05 + 0.5 * np.exp(-1.5 * U),
    "sigmoid": -np.log(1 / (1 + np.exp(-1 - 2 * U))),
    "flat": np.ones(12),
}


def p_values(loss, noise=0.03, seeds=200, **options):
    draws = [np.random.default_rng(seed).standard_normal(len(loss)) for seed in range(seeds)]
    found = [breaks.find_break(SCALE, loss * np.exp(noise * z), n_draws=300, **options) for z in draws]
    return np.array(found).T


@pytest.mark.parametrize("seeds", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", SMOOTH)
def test_smooth_curves_seldom_seem_to_break(form, seeds):
    p, _ = p_values(SMOOTH[form], seeds=seeds)
    assert (0.03 if seeds > 40 else 0) < np.mean(p < 0.1) < (0.18 if seeds > 40 else 0.23)


@pytest.mark.slow
def test_known_noise_of_unequal_size_is_weighed():
    variance = np.where(np.arange(12) < 4, 0.3, 0.03) ** 2
    p, _ = p_values(SMOOTH["power law"], noise=np.sqrt(variance), variance=variance)
    assert 0.03 < np.mean(p < 0.1) < 0.18


@pytest.mark.parametrize("broken", [-0.5 * (U > 0.2), -3 * np.maximum(U - 0.2, 0)], ids=["step", "bend"])
def test_a_planted_break_is_found_where_it_is(broken):
    p, where = p_values(SMOOTH["power law"] * np.exp(broken), seeds=20)
    assert np.mean(p < 0.05) > 0.8
    assert 3e20 < np.median(where) < 3e22


@pytest.mark.parametrize(
    "scale, loss", [(SCALE[:7], U[:7] + 2), (SCALE, U), (-SCALE, U + 2), (SCALE, np.full(12, np.nan))]
)
def test_too_few_or_impossible_values_are_refused(scale, loss):
    with pytest.raises(ValueError, match="8 or more scales, all positive"):
        breaks.find_break(scale, loss)
