"""Selective answering: by hand, and against what is best of all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.evaluate.trust import selective


def test_scores_by_hand():
    right, answered = np.array([1, 0, 1, 0, 0.25]), np.array([1, 1, 0, 0, 1], bool)
    np.testing.assert_allclose(selective.scores(right, answered, 0.75), [1, -3, 0, 0, 0.25 - 3 * 0.75])
    np.testing.assert_allclose(selective.scores(right, answered, 0.0), [1, 0, 0, 0, 0.25])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 0.95), st.integers(0, 63))
def test_no_rule_scores_more_than_answering_above_the_threshold(probabilities, threshold, rule):
    p = np.array(probabilities)
    best = selective.best_expected_scores(p, threshold)
    other = selective.scores(p, (rule >> np.arange(len(p))) % 2 == 1, threshold)
    assert best.sum() >= other.sum() - 1e-9
    np.testing.assert_allclose(best, selective.scores(p, p > threshold, threshold), atol=1e-9)


def test_calibration_finds_what_a_confidence_means_and_does_not_know_its_own_outcome():
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    right = rng.random(20_000) < confidence**2  # too sure of itself
    found = selective.calibrated(confidence, right)
    assert np.abs(found - confidence**2).mean() < 0.03
    for threshold in (0.0, 0.5, 0.8):
        expected = selective.best_expected_scores(confidence**2, threshold).mean()
        assert selective.best_expected_scores(found, threshold).mean() == pytest.approx(expected, abs=0.01)
    elsewhere = rng.random(1000)
    assert np.abs(selective.calibrated_on(confidence, right, elsewhere) - elsewhere**2).mean() < 0.03
    noise = rng.random(400) < 0.5
    fitted = selective.calibrated(rng.random(400), noise)
    assert np.corrcoef(fitted, noise)[0, 1] < 0.1


def test_risk_and_coverage_by_hand():
    confidence, right = np.array([0.9, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0])
    coverage, risk = selective.risk_coverage(confidence, right)
    np.testing.assert_allclose(coverage, [0.25, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 3, 1 / 2])
    assert selective.area_under_risk(confidence, right) == pytest.approx(0.5 / 3 + 0.25 / 2)
    assert selective.accuracy_at(confidence, right, 0.25) == 1
    assert selective.accuracy_at(confidence, right, 0.5) == pytest.approx(2 / 3)
    assert selective.area_under_risk(np.ones(4), right) == 0.5  # a confidence that says nothing
