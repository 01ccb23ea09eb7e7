"""Drawing tokens: the distribution itself is tested in test_sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.decoding.sampling_loop import STRETCH, _inverted, draw


def drawn(logits_V, n: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0), n)
    return np.asarray(draw(keys, jnp.zeros(n, jnp.int32), jnp.tile(jnp.asarray(logits_V), (n, 1))))


@pytest.mark.parametrize("vocab_size", [3, STRETCH, 2 * STRETCH + 5])
def test_what_is_left_of_a_distribution_is_all_that_is_drawn(vocab_size):
    logits_V = np.full(vocab_size, -np.inf, np.float32)
    logits_V[[0, vocab_size - 1]] = 0, 1
    tokens = drawn(logits_V, 4000)
    assert set(tokens) == {0, vocab_size - 1}
    assert np.mean(tokens == 0) == pytest.approx(1 / (1 + np.e), abs=0.03)


def test_one_token_left_is_certain():
    logits_V = np.full(100, -np.inf, np.float32)
    logits_V[70] = -50
    assert set(drawn(logits_V, 100)) == {70}


@pytest.mark.parametrize(
    "share, expected", [(0.0, 1), (0.2, 1), (0.25, 3), (0.99, 3), (1 - 2**-24, 3), (1.0, 3)]
)
def test_a_share_falls_on_the_token_that_has_it_and_never_on_one_without_weight(share, expected):
    weights_1N = jnp.array([[0.0, 1.0, 0.0, 3.0, 0.0]])
    assert _inverted(weights_1N, jnp.array([share], jnp.float32)).tolist() == [expected]


def test_a_row_draws_the_same_among_others():
    logits_BV = jax.random.normal(jax.random.key(1), (5, 200))
    keys, steps = jax.random.split(jax.random.key(2), 5), jnp.arange(5)
    together = draw(keys, steps, logits_BV)
    alone = [draw(keys[i : i + 1], steps[i : i + 1], logits_BV[i : i + 1])[0] for i in range(5)]
    assert together.tolist() == [int(token) for token in alone]
