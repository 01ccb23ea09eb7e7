"""What is copied from the training set, against looking for every n-gram in every document."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evaluate.trust import novelty

TEXTS = st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=5)


def stands_in(gram, documents):
    n = len(gram)
    return any(gram == doc[i : i + n] for doc in documents for i in range(len(doc) - n + 1))


@given(TEXTS.filter(any), TEXTS)
def test_every_copied_length_is_that_of_brute_force(documents, samples):
    training = novelty.suffix_array(documents)
    copied = novelty.copied_lengths(training, samples)
    assert [row.tolist() for row in copied] == [
        [
            max(n for n in range(len(one) - i + 1) if n == 0 or stands_in(one[i : i + n], documents))
            for i in range(len(one))
        ]
        for one in samples
    ]
    for n in (1, 2, 3):
        grams = [one[i : i + n] for one in samples for i in range(len(one) - n + 1)]
        expected = np.mean([stands_in(gram, documents) for gram in grams]) if grams else np.nan
        np.testing.assert_allclose(novelty.share_found(copied, n), expected)


@given(TEXTS.filter(any))
def test_the_suffixes_are_in_order(documents):
    training = novelty.suffix_array(documents)
    suffixes = [training.tokens[start:].tolist() for start in training.order]
    assert suffixes == sorted(suffixes)


def test_measures_of_samples_that_are_and_are_not_in_the_training_set():
    training = novelty.suffix_array([[1, 2, 3, 4], [5, 6]])
    found = novelty.measures(training, [[1, 2, 3, 4], [3, 4, 5, 6]])
    assert found["longest_copied"] == 3.0  # 4 and 2: nothing is copied across documents
    assert found["novel"] == 0.5
    assert found["found_2"] == 5 / 6 and found["found_4"] == 0.5


@pytest.mark.parametrize("documents", [[], [[], []]])
def test_a_training_set_without_tokens_is_refused(documents):
    with pytest.raises(ValueError, match="has no tokens"):
        novelty.suffix_array(documents)


@pytest.mark.parametrize("token", [-1, -3])
def test_negative_tokens_are_refused(token):
    with pytest.raises(ValueError, match="0 or more"):
        novelty.suffix_array([[1, token]])
