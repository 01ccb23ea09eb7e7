"""Simulated annotators: exact probabilities, shares of labels, biases, and who agrees with whom."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining.preferences.agreement import agreement_matrix, fleiss_kappa
from experiments.posttraining.preferences.annotators import (
    FIRST,
    SECOND,
    TIE,
    Annotator,
    annotate,
    label_probabilities,
)

REWARDS_N2 = np.random.default_rng(0).normal(size=(4000, 2))
LENGTHS_N2 = np.random.default_rng(1).integers(1, 20, (4000, 2))
DIFFERENCE_N = REWARDS_N2[:, 0] - REWARDS_N2[:, 1]


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


@pytest.mark.parametrize(
    ("annotator", "difference", "expected"),
    [
        (Annotator(), 1.0, [sigmoid(1), sigmoid(-1), 0]),
        (Annotator(temperature=0.5), 1.0, [sigmoid(2), sigmoid(-2), 0]),
        (Annotator(temperature=0.0), 0.1, [1, 0, 0]),
        (Annotator(temperature=0.0), 0.0, [0.5, 0.5, 0]),
        (Annotator(skill=0.6), 1.0, [0.2 + 0.6 * sigmoid(1), 0.2 + 0.6 * sigmoid(-1), 0]),
        (Annotator(skill=0.0), 9.0, [0.5, 0.5, 0]),
        (Annotator(indifference=0.5), 1.0, [sigmoid(0.5), sigmoid(-1.5), sigmoid(1.5) - sigmoid(0.5)]),
        (Annotator(temperature=0.0, indifference=0.5), 0.5, [0, 0, 1]),
        (Annotator(temperature=0.0, indifference=0.5), -0.75, [0, 1, 0]),
    ],
)
def test_probabilities_by_hand(annotator, difference, expected):
    found = label_probabilities(annotator, jnp.array([difference]))
    np.testing.assert_allclose(found, [expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("annotator", [Annotator(), Annotator(0.5, 0.8, 0.0, 0.0, 0.3)])
def test_labels_are_drawn_with_their_probabilities(annotator):
    """Within five standard errors, overall and where the differences are large."""
    labels_N = annotate([annotator], REWARDS_N2, LENGTHS_N2, 0)[0]
    chances_N3 = np.asarray(label_probabilities(annotator, jnp.asarray(DIFFERENCE_N)))
    for group in (np.full(4000, True), DIFFERENCE_N > 1):
        for label in (FIRST, SECOND, TIE):
            p, n = chances_N3[group, label], group.sum()
            error = 5 * np.sqrt((p * (1 - p)).sum()) / n + 1e-9
            assert abs((labels_N[group] == label).mean() - p.mean()) <= error


def test_labels_are_a_function_of_the_seed_and_of_the_annotators_number():
    one, other = Annotator(), Annotator(0.2)
    both_KN = annotate([one, other], REWARDS_N2, LENGTHS_N2, 3)
    np.testing.assert_array_equal(both_KN[0], annotate([one], REWARDS_N2, LENGTHS_N2, 3)[0])
    assert (both_KN[0] != annotate([one], REWARDS_N2, LENGTHS_N2, 4)[0]).mean() > 0.2
    alike_KN = annotate([one, one], REWARDS_N2, LENGTHS_N2, 3)
    assert (alike_KN[0] != alike_KN[1]).mean() > 0.2


def test_a_bias_for_length_prefers_the_longer_response():
    labels_KN = annotate([Annotator(0.0, length_bias=100.0)], REWARDS_N2, LENGTHS_N2, 0)
    longer_N, shorter_N = LENGTHS_N2[:, 0] > LENGTHS_N2[:, 1], LENGTHS_N2[:, 0] < LENGTHS_N2[:, 1]
    assert (labels_KN[0, longer_N] == FIRST).all() and (labels_KN[0, shorter_N] == SECOND).all()


def test_tastes_are_an_annotators_own_and_the_same_whenever_it_sees_the_response():
    responses_N2 = np.stack([np.arange(4000), np.roll(np.arange(4000), 1)], axis=1)
    swapped = [array[:, ::-1] for array in (REWARDS_N2, LENGTHS_N2, responses_N2)]
    panel = [Annotator(0.0, disagreement=2.0)] * 2
    labels_KN = annotate(panel, REWARDS_N2, LENGTHS_N2, 0, responses_N2)
    swapped_KN = annotate(panel, *swapped[:2], 0, swapped[2])
    np.testing.assert_array_equal(labels_KN, 1 - swapped_KN)
    assert 0.5 < (labels_KN[0] == labels_KN[1]).mean() < 0.8


def test_the_more_skilled_the_more_agreement():
    kappas = [
        fleiss_kappa(annotate([Annotator(0.1, skill)] * 4, REWARDS_N2, LENGTHS_N2, 0))
        for skill in (0, 0.5, 1)
    ]
    assert abs(kappas[0]) < 0.02 and kappas[0] + 0.1 < kappas[1] < kappas[2] - 0.1


def test_a_careless_annotator_stands_out_in_the_matrix():
    panel = [Annotator(0.1), Annotator(0.1), Annotator(0.1, skill=0.0)]
    matrix_KK = agreement_matrix(annotate(panel, REWARDS_N2, LENGTHS_N2, 0))
    assert matrix_KK[0, 1] > 0.9 and abs(matrix_KK[0, 2] - 0.5) < 0.05 and abs(matrix_KK[1, 2] - 0.5) < 0.05


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"skill": 1.5}, {"disagreement": -0.1}, {"indifference": -2.0}]
)
def test_impossible_annotators_are_refused(wrong):
    with pytest.raises(ValueError, match=f"annotator: {next(iter(wrong))}="):
        Annotator(**wrong)
