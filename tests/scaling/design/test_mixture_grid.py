"""Mixtures to run: on the simplex, the same for the same seed, spread evenly."""

import numpy as np
import pandas as pd
import pytest

from scaling.design import mixture_grid

DOMAINS = ("web", "code", "books", "talk")


def test_the_centre_and_the_corners_come_first_and_all_sum_to_one():
    grid = mixture_grid(24, DOMAINS)
    assert list(grid) == ["share_web", "share_code", "share_books", "share_talk"] and len(grid) == 24
    np.testing.assert_array_equal(grid.to_numpy()[:5], [[0.25] * 4, *np.eye(4)])
    assert np.all(grid.to_numpy() >= 0)
    np.testing.assert_allclose(grid.sum(axis=1), 1)


def test_the_same_seed_gives_the_same_mixtures_and_a_larger_grid_begins_with_them():
    grid = mixture_grid(24, DOMAINS, seed=3)
    pd.testing.assert_frame_equal(grid, mixture_grid(24, DOMAINS, seed=3))
    pd.testing.assert_frame_equal(grid, mixture_grid(50, DOMAINS, seed=3)[:24])
    assert not grid.equals(mixture_grid(24, DOMAINS, seed=4))


@pytest.mark.parametrize("concentration", [0.3, 1.0, 4.0])
def test_the_shares_have_the_moments_of_their_dirichlet_distribution(concentration):
    drawn = mixture_grid(1000, DOMAINS, concentration=concentration, corners=False).to_numpy()[1:]
    np.testing.assert_allclose(drawn.mean(axis=0), 0.25, atol=0.01)
    variance = 0.25 * 0.75 / (4 * concentration + 1)
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.1)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"domains": ("web",)}, "two or more"),
        ({"domains": ("web", "web")}, "each once"),
        ({"n": 4}, "the centre and the corners alone are 5"),
        ({"concentration": 0.0}, "must be positive"),
    ],
)
def test_what_is_no_grid_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        mixture_grid(**{"n": 24, "domains": DOMAINS} | change)
