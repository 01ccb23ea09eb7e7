"""Detectors of made-up answers: by hand, and intervals that hold what they say."""

import numpy as np
import pytest

from experiments.evaluate.trust import detectors

ANSWERS = np.array([["a", "a", "a", "a"], ["a", "b", "a", "b"], ["a", "b", "c", "d"], ["b", "b", "b", "a"]])


def test_entropy_and_votes_by_hand():
    mixed = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(
        detectors.answer_entropy(ANSWERS), [0, np.log(2), np.log(4), mixed], atol=1e-12
    )
    np.testing.assert_allclose(detectors.vote_share(ANSWERS), [1, 0.5, 0.25, 0.75])


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(1)
    detector, right = rng.integers(0, 5, 60), rng.random(60) < 0.4
    pairs = np.sign(detector[right][:, None] - detector[~right][None])
    assert detectors.auroc(detector, right) == pytest.approx(((pairs + 1) / 2).mean())
    assert detectors.auroc(np.ones(60), right) == 0.5
    assert np.isnan(detectors.auroc(detector, np.ones(60)))


def test_intervals_hold_the_true_value_and_pairing_makes_them_narrower():
    rng, inside, true = np.random.default_rng(2), 0, 0.76025  # Φ(1 / √2)
    for seed in range(40):
        right = rng.random(120) < 0.5
        detector = rng.normal(size=120) + right
        found = detectors.auroc_interval(detector, right, 0.9, 100, seed)
        inside += found.lo <= true <= found.hi
    assert 30 <= inside <= 40
    other = detector + 0.3 * rng.normal(size=120)
    apart = detectors.auroc_difference(detector, other, right, 0.9, 200, 0)
    assert apart.hi - apart.lo < 0.7 * (found.hi - found.lo)
    assert apart.value == pytest.approx(detectors.auroc(detector, right) - detectors.auroc(other, right))
    nothing = detectors.auroc_difference(detector, detector, right, 0.9, 50, 0)
    assert (nothing.value, nothing.lo, nothing.hi) == (0, 0, 0)


def test_questions_of_a_person_are_drawn_together():
    rng = np.random.default_rng(3)
    right = rng.random(60) < 0.5
    detector, one = rng.normal(size=60) + right, np.arange(60)
    often = [np.repeat(each, 4) for each in (detector, right, one)]  # the same 60 outcomes, four times each
    few = detectors.auroc_interval(detector, right, 0.9, 200, 0)
    together = detectors.auroc_interval(*often[:2], 0.9, 200, 0, often[2])
    apart = detectors.auroc_interval(*often[:2], 0.9, 200, 0)
    assert (together.lo, together.hi) == pytest.approx((few.lo, few.hi))
    assert apart.hi - apart.lo < 0.7 * (together.hi - together.lo)
