"""Minima of noisy losses: where they are, how certain that is, and when there is none."""

import numpy as np

from scaling.profiles.parabola import fit_parabolas


def quadratic(log_x, bottom, depth=1.0, curvature=0.1):
    return np.log(depth) + 0.5 * curvature * (log_x - bottom) ** 2


def test_an_exact_parabola_is_found_exactly():
    x = np.linspace(-1, 1.4, 7)
    (found,) = fit_parabolas([(x, quadratic(x, 0.3, 2.5))], 100, np.random.default_rng(0))
    np.testing.assert_allclose([found.log_x, found.log_loss], [0.3, np.log(2.5)], atol=1e-9)
    assert not found.at_edge
    np.testing.assert_allclose(np.polyval(found.curve, x), quadratic(x, 0.3, 2.5), atol=1e-9)


def test_walls_of_unequal_steepness_do_not_shift_the_bottom():
    """The profile of Chinchilla's law at equal compute, tried mostly on one side of its minimum."""
    x = np.linspace(-2.5, 0.6, 9)
    loss = np.log(1.0 + 0.3 * (0.6 * np.exp(-0.3 * x) + 0.3 * np.exp(0.6 * x)) / 0.9)
    (found,) = fit_parabolas([(x, loss)], 100, np.random.default_rng(0))
    square, slope, _ = np.polyfit(x[3:], loss[3:], 2)
    assert abs(found.log_x) < 0.4 * abs(slope / (2 * square))


def test_the_draws_cover_the_true_bottom():
    x, rng, inside = np.linspace(-1, 1, 7), np.random.default_rng(0), []
    for _ in range(300):
        groups = [(x, quadratic(x, b) + 0.003 * rng.standard_normal(7)) for b in (-0.3, 0.0, 0.3)]
        for found, b in zip(fit_parabolas(groups, 300, rng), (-0.3, 0.0, 0.3)):
            lo, hi = np.nanquantile(found.draws, [0.05, 0.95])
            inside.append(lo <= b <= hi)
    assert 0.85 < np.mean(inside) < 0.95


def test_a_bottom_outside_the_values_tried_is_at_the_edge():
    x = np.linspace(-1, 1, 6)
    for bottom in (-1.5, 1.5):
        (found,) = fit_parabolas([(x, quadratic(x, bottom))], 50, np.random.default_rng(0))
        assert found.at_edge and found.log_x == np.sign(bottom)


def test_a_ridge_has_no_bottom():
    x = np.linspace(-1, 1, 6)
    (found,) = fit_parabolas([(x, -quadratic(x, 0.1))], 50, np.random.default_rng(0))
    assert found.at_edge and abs(found.log_x) == 1 and not np.any(np.abs(found.draws) < 1)


def test_rows_far_up_a_wall_do_not_move_the_bottom():
    x = np.array([-1.0, 0.0, 1.0, 3.0, 4.0])
    near, far = [0.05, 0.0, 0.05], [0.25, 0.35]  # a parabola's would be 0.45 and 0.8
    (found,) = fit_parabolas([(x, np.array(near + far))], 50, np.random.default_rng(0))
    assert abs(found.log_x) < 0.1 < abs(np.roots(np.polyder(np.polyfit(x, near + far, 2)))).item()
