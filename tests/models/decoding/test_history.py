"""What rows have said: grown token by token it is what it would be from the start."""

import hypothesis.strategies as st
import jax
import numpy as np
from hypothesis import example, given, settings

from models.decoding.history import begin, extend

V, N_SLOTS = 5, 12
texts = st.lists(st.integers(0, V - 1), max_size=6)


@settings(max_examples=50)
@example(([0] * 6, [1]), ([2] * 6, [3]), [4, 4])  # of two rows the first is full
@given(
    st.tuples(texts, texts), st.tuples(texts, texts), st.lists(st.integers(0, V - 1), min_size=2, max_size=2)
)
def test_extending_is_beginning_with_one_more_token(prompts, sampled, news):
    """Each row on its own: their lengths differ. A full text takes no more, but counts it."""
    grown = jax.jit(extend)(begin(prompts, sampled, V, N_SLOTS), np.array(news))
    anew = begin(prompts, [[*row, token] for row, token in zip(sampled, news)], V, N_SLOTS + 1)
    anew = anew._replace(text_BT=anew.text_BT[:, :N_SLOTS])
    for found, expected in zip(grown, anew):
        np.testing.assert_array_equal(found, expected)


def test_a_history_by_hand():
    found = begin([[4, 0, 4], []], [[1, 1], [2]], V, 6)
    assert found.prompt_BV.tolist() == [[True, False, False, False, True], [False] * 5]
    assert found.counts_BV.tolist() == [[0, 2, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert found.text_BT.tolist() == [[4, 0, 4, 1, 1, 0], [2, 0, 0, 0, 0, 0]]
    assert (found.lengths_B.tolist(), found.new_B.tolist()) == ([5, 1], [2, 1])
