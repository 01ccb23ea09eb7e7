"""All sweeps' loss surfaces at once."""

import numpy as np
import pytest

from scaling.hparams.fit_surface import LawPrior, fit_surfaces
from scaling.hparams.loss_surface import basis

SHAPE = np.array([0.02, -0.006, 0.015, 0.01, -0.002, 0.004, -0.003])
STEPS = np.log(2) * np.arange(-2, 3)
GRID = np.stack(np.meshgrid(STEPS, STEPS), axis=-1).reshape(-1, 2)
CENTRES = np.array([[-6.0, 12.0], [-6.5, 12.5], [-7.0, 13.0], [-7.6, 13.4]])
SHARP = np.array([0.3, 0.1, -0.1, -0.3])
VAGUE = LawPrior(np.array([[-7.0, 12.5]]), np.full((1, 2), 2.0), 2.0)


def planted(noise=0.0, seed=0, settings=GRID, offset=0.3):
    """Sweeps of known centre and sharpness; the grids lie off centre."""
    rng, sweeps = np.random.default_rng(seed), []
    for centre, sharp in zip(CENTRES, SHARP):
        z = centre + offset * np.array([1.0, -1.0]) + settings
        log_loss = np.log(3) + np.exp(sharp) * basis(z - centre) @ SHAPE
        sweeps.append((z, log_loss + noise * rng.standard_normal(len(z))))
    return sweeps


def apart(sweeps, seed=0):
    return fit_surfaces(sweeps, np.ones((len(sweeps), 1)), VAGUE, 400, np.random.default_rng(seed))


def test_skewed_surfaces_are_found_where_they_are():
    found = apart(planted())
    assert found.centre == pytest.approx(CENTRES, abs=0.02)
    assert found.height == pytest.approx(np.log(3), abs=1e-4)
    assert np.diff(found.log_sharpness) == pytest.approx(np.diff(SHARP), abs=0.03)
    assert found.curvature[0, 1] / found.curvature[0, 0] == pytest.approx(-0.3, abs=0.02)


def test_the_draws_spread_as_the_centres_err():
    misses, spread = [], []
    for seed in range(30):
        found = apart(planted(noise=0.004, seed=seed))
        misses.append(found.centre - CENTRES)
        spread.append(found.centres.std(axis=0))
    assert np.sqrt(np.mean(np.square(misses))) == pytest.approx(np.mean(spread), rel=0.3)


def test_loss_spikes_move_nothing():
    sweeps = planted(noise=0.001)
    before = apart(sweeps).centre
    for _, log_loss in sweeps:
        log_loss[[3, 17]] += 0.04
    assert apart(sweeps).centre == pytest.approx(before, abs=0.1)


def test_a_law_is_fitted_to_sweeps_too_sparse_to_stand_alone():
    """Three runs a sweep: the joint fit places a law that the separate centres do not."""
    x = np.linspace(-2, 2, 16)
    law = np.array([[-7.0, 12.5], [-0.6, 0.4]])
    rng, sweeps = np.random.default_rng(0), []
    for centre in np.column_stack([np.ones(16), x]) @ law:
        z = centre + rng.uniform(-1.5, 1.5, (3, 2))
        sweeps.append((z, basis(z - centre) @ SHAPE + 0.001 * rng.standard_normal(3)))
    prior = LawPrior(np.array([[-7.0, 12.5], [0.0, 0.0]]), np.array([[2.0, 2.0], [0.5, 0.5]]))
    found = fit_surfaces(sweeps, np.column_stack([np.ones(16), x]), prior, 400, np.random.default_rng(0))
    assert found.law == pytest.approx(law, abs=0.12)
    lo, hi = np.quantile(found.laws, [0.02, 0.98], axis=0)
    assert np.all((lo < law) & (law < hi))


def test_scatter_about_the_law_is_separated_from_noise():
    x, rng = np.linspace(-2, 2, 40), np.random.default_rng(1)
    design, scatters = np.column_stack([np.ones(40), x]), {}
    prior = LawPrior(np.array([[-7.0, 12.5], [0.0, 0.0]]), np.array([[2.0, 2.0], [0.5, 0.5]]))
    for scatter in (0.0, 0.25):
        centres = design @ np.array([[-7.0, 12.5], [-0.6, 0.4]]) + scatter * rng.standard_normal((40, 2))
        sweeps = [(c + GRID, basis(GRID) @ SHAPE + 0.001 * rng.standard_normal(len(GRID))) for c in centres]
        scatters[scatter] = fit_surfaces(sweeps, design, prior, 10, rng).scatter
    assert np.all(scatters[0.0] < 0.04) and scatters[0.25] == pytest.approx([0.25, 0.25], rel=0.35)


def test_a_slope_without_a_minimum_ends_within_reach():
    z = np.linspace(-9, -7, 5)[:, None]
    sweeps = [(z, np.log(3) - 0.05 * (z[:, 0] + 9)), (z, np.log(3) - 0.05 * (z[:, 0] + 9))]
    prior = LawPrior(np.array([[-8.0]]), np.array([[2.0]]), 2.0)
    found = fit_surfaces(sweeps, np.ones((2, 1)), prior, 400, np.random.default_rng(0))
    assert np.all(found.centre > -7.2) and np.all(found.centre < 0) and found.centres.std() > 0.3
