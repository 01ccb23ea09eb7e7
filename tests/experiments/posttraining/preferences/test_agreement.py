"""Kappas by hand, of published examples, and where they are not defined."""

import math

import numpy as np
import pytest

from experiments.posttraining.preferences.agreement import agreement_matrix, cohen_kappa, fleiss_kappa


def test_cohens_kappa_by_hand():
    """50 items: both yes 20, both no 15, one yes 5, other yes 10: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4."""
    one = [1] * 20 + [0] * 15 + [1] * 5 + [0] * 10
    other = [1] * 20 + [0] * 15 + [0] * 5 + [1] * 10
    assert cohen_kappa(np.array(one), np.array(other)) == pytest.approx(0.4)


def test_cohens_kappa_of_opposites_and_of_equals():
    labels = np.array([0, 1, 2, 0, 1, 2])
    assert cohen_kappa(labels, labels) == 1
    assert cohen_kappa(np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0])) == -1
    assert math.isnan(cohen_kappa(np.zeros(4, int), np.zeros(4, int)))


def test_fleiss_kappa_of_a_published_table():
    """The worked example in en.wikipedia.org/wiki/Fleiss'_kappa: 14 raters, 10 items, κ = 0.210."""
    table = """0 0 0 0 14, 0 2 6 4 2, 0 0 3 5 6, 0 3 9 2 0, 2 2 8 1 1,
               7 7 0 0 0, 3 2 6 3 0, 2 5 3 2 2, 6 5 2 1 0, 0 2 2 3 7"""
    counts_NC = [[int(n) for n in row.split()] for row in table.split(",")]
    labels_KN = np.array([np.repeat(np.arange(5), row) for row in counts_NC]).T
    assert fleiss_kappa(labels_KN) == pytest.approx(0.2099, abs=5e-5)
    shuffled = np.random.default_rng(0).permuted(labels_KN, axis=0)  # who says what does not matter
    assert fleiss_kappa(shuffled) == pytest.approx(0.2099, abs=5e-5)


def test_fleiss_kappa_of_two_counts_their_labels_together():
    """[0, 0, 1, 1] and [0, 0, 1, 0]: observed 3/4; by chance (5/8)² + (3/8)² = 34/64."""
    labels_KN = np.array([[0, 0, 1, 1], [0, 0, 1, 0]])
    assert fleiss_kappa(labels_KN) == pytest.approx((3 / 4 - 34 / 64) / (1 - 34 / 64))
    assert math.isnan(fleiss_kappa(np.ones((3, 4), int)))


def test_the_agreement_matrix_by_hand():
    matrix_KK = agreement_matrix(np.array([[0, 1, 2, 0], [0, 1, 1, 0], [2, 2, 2, 2]]))
    np.testing.assert_array_equal(matrix_KK, [[1, 0.75, 0.25], [0.75, 1, 0], [0.25, 0, 1]])


@pytest.mark.parametrize("labels", [[[0, 1], [0]], [[], []]])
def test_labels_that_do_not_match_are_refused(labels):
    with pytest.raises(ValueError, match="agreement: annotators have"):
        cohen_kappa(*labels)


def test_one_annotator_agrees_with_nobody():
    with pytest.raises(ValueError, match="agreement needs two"):
        fleiss_kappa(np.array([[0, 1]]))
