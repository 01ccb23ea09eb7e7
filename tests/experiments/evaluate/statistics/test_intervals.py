"""Intervals hold the truth as often as they say: for means, pairs and seeds, with and without clusters."""

import math

import numpy as np
import pytest

from experiments.evaluate.statistics.intervals import (
    difference,
    mean,
    mean_over_seeds,
    ratio_difference,
    ratios,
)

TRIALS = 400


def share_held(held) -> float:
    return sum(held) / TRIALS


def assert_about_90_percent(held) -> None:
    """0.9 give or take three standard deviations of 400 trials; a little more is caution and no fault."""
    assert 0.855 <= share_held(held) <= 0.95


def test_standard_error_is_the_textbooks():
    values = np.array([0.0, 1.0, 1.0, 0.5, 0.25])
    assert mean(values).se == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    # Two documents of two equal items each are two observations.
    doubled = mean(np.repeat([0.2, 0.6, 0.7], 2), np.repeat(["a", "b", "c"], 2))
    assert doubled.se == pytest.approx(mean(np.array([0.2, 0.6, 0.7])).se)


@pytest.mark.parametrize("truth", [0.25, 0.9])
def test_accuracy_of_independent_items(truth):
    rng = np.random.default_rng(0)
    found = [mean(rng.random(100) < truth) for _ in range(TRIALS)]
    assert_about_90_percent(one.lo <= truth <= one.hi for one in found)


def test_accuracy_of_items_that_share_documents():
    """Documents are easy or hard; without clusters the interval holds far too rarely."""
    rng, clusters = np.random.default_rng(0), np.repeat(np.arange(40), 8)
    runs = [(rng.random(320) < np.repeat(rng.beta(0.6, 1.4, 40), 8)).astype(float) for _ in range(TRIALS)]
    assert_about_90_percent(one.lo <= 0.3 <= one.hi for one in (mean(run, clusters) for run in runs))
    assert share_held(one.lo <= 0.3 <= one.hi for one in map(mean, runs)) < 0.7


def test_all_right_or_all_wrong_leaves_doubt():
    found = mean(np.ones(50))
    assert found.value == 1 and found.lo < 0.96 and found.hi == 1
    assert mean(np.zeros(50)).hi > 0.04
    same = difference(np.ones(50), np.ones(50))
    assert same.lo < 0 < same.hi and not same.excludes(0)


def test_intervals_end_where_what_is_measured_does():
    nearly = np.array([0.99, 0.98, 1.0, 0.7])
    assert mean(nearly).hi > 1 and mean(nearly, bounds=(0, 1)).hi == 1
    assert mean(1 - nearly, bounds=(0, 1)).lo == 0
    inside = np.array([0.4, 0.5, 0.6])
    assert mean(inside, bounds=(0, 1)) == mean(inside)
    assert math.isnan(mean(nearly[:1], bounds=(0, 1)).lo)
    assert difference(np.ones(2), np.zeros(2)).hi == 1
    assert mean_over_seeds(np.array([[1, 1, 1], [1, 1, 0]])).estimate.hi == 1


def test_pairs_are_sharper_than_two_intervals_and_hold_the_truth():
    """Two models that find the same items hard and differ on some: P(right) differs by 0.1."""
    rng, held, se, unpaired = np.random.default_rng(0), [], [], []
    for _ in range(TRIALS):
        hard = rng.random(200) < 0.5
        b = np.where(hard, rng.random(200) < 0.1, rng.random(200) < 0.9)
        a = np.where(hard, rng.random(200) < 0.3, rng.random(200) < 0.9)
        found = difference(a, b)
        held.append(found.lo <= 0.1 <= found.hi)
        se.append(found.se)
        unpaired.append(math.hypot(mean(a).se, mean(b).se))
    assert_about_90_percent(held)
    assert np.mean(se) < 0.8 * np.mean(unpaired)


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.05, 0.3])
def test_joined_seeds_hold_the_truth_of_new_seeds_and_items(n_seeds, seed_sd):
    rng, held = np.random.default_rng(0), []
    for _ in range(TRIALS):
        seeds, items = rng.normal(0, seed_sd, n_seeds), rng.normal(0, 0.3, 100)
        values = 0.5 + seeds[:, None] + items + rng.normal(0, 0.2, (n_seeds, 100))
        found = mean_over_seeds(values).estimate
        held.append(found.lo <= 0.5 <= found.hi)
    assert_about_90_percent(held)


def test_joined_seeds_tell_spread_between_seeds_from_noise_of_items():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (40, 500))
    assert mean_over_seeds(noise).between_sd < 0.05
    apart = noise + rng.normal(0, 0.3, 40)[:, None]
    assert mean_over_seeds(apart).between_sd == pytest.approx(0.3, rel=0.25)
    with pytest.raises(ValueError, match="two at least"):
        mean_over_seeds(noise[:1])


def test_differences_of_bits_are_paired_by_document():
    """What makes a document hard for both models is not in the uncertainty of their difference."""
    rng = np.random.default_rng(0)
    n_bytes = rng.integers(100, 5000, 60).astype(float)
    b = n_bytes * rng.normal(2, 0.5, 60)
    a = b + n_bytes * rng.normal(0.1, 0.02, 60)
    found = ratio_difference(a, b, n_bytes)
    [alone] = ratios(a, [n_bytes])
    assert found.value == pytest.approx((a.sum() - b.sum()) / n_bytes.sum())
    assert found.lo < 0.1 < found.hi and found.se < alone.se / 10


@pytest.mark.parametrize("n, spread", [(10, 0.5), (10, 0.8), (30, 0.8), (100, 0.8)])
def test_bits_per_byte_of_few_documents_of_very_different_length_hold_the_truth(n, spread):
    """Lengths are lognormal, and the rate of a document has nothing to do with its length."""
    rng, held = np.random.default_rng(0), []
    for _ in range(TRIALS):
        n_bytes = np.exp(rng.normal(0, spread, n))
        [found] = ratios(n_bytes * rng.normal(2, 0.3, n), [n_bytes])
        held.append(found.lo <= 2 <= found.hi)
    assert_about_90_percent(held)


def test_one_document_or_one_that_is_all_of_a_text_has_no_interval():
    for numbers, lengths in (([3.0], [2.0]), ([3.0, 0.0], [2.0, 0.0])):
        [found] = ratios(np.array(numbers), [np.array(lengths)])
        assert found.value == 1.5 and np.isnan([found.se, found.lo, found.hi]).all()


def test_documents_of_one_length_are_items():
    values = np.array([1.0, 2.0, 4.0])
    assert vars(ratios(values, [np.ones(3)])[0]) == pytest.approx(vars(mean(values)))
