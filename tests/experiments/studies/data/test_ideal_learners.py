"""Ideal learners: their excess falls as theory says, and their table is what the law is fitted to."""

import numpy as np
import pytest

from experiments.studies.data.ideal_learners import ENTROPY, grid, guessed, unlearnt


def slope(function, x):
    return np.log(function(10 * x) / function(x)) / np.log(10)


@pytest.mark.parametrize("n_tokens", [1e5, 1e7, 1e9])
def test_what_data_have_not_taught_falls_as_the_third_root_of_tokens(n_tokens):
    assert slope(unlearnt, n_tokens) == pytest.approx(-1 / 3, abs=0.005)


def test_what_is_guessed_falls_as_the_square_root_of_skills():
    assert slope(guessed, 1e4) == pytest.approx(-0.5, abs=0.001)
    assert guessed(0) == pytest.approx(unlearnt(1e-9), rel=1e-3)  # nothing known


def test_one_learner_of_both_limits_loses_less_than_their_sum_and_more_than_either():
    skills, tokens = np.array([8.0, 64.0, 512.0]), np.array([1e4, 1e6])
    joint = grid("joint", skills, tokens, 0.0, 0)["loss"].to_numpy() - ENTROPY
    apart = grid("apart", skills, tokens, 0.0, 0)["loss"].to_numpy() - ENTROPY
    either = np.array([max(guessed(n), unlearnt(d)) for n in skills for d in tokens])
    assert np.all(joint < apart) and np.all(joint > either * 0.999)


def test_noise_is_by_seed():
    noisy = [
        grid("apart", np.array([8.0]), np.geomspace(1e4, 1e6, 5), 1e-3, seed)["loss"] for seed in (0, 0, 1)
    ]
    assert noisy[0].equals(noisy[1]) and not noisy[0].equals(noisy[2])
