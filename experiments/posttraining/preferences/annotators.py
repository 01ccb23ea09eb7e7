"""Simulated annotators: who says which of two responses is better, and how they err.

An annotator sees each response's true reward, moved by what it likes by mistake (length) and by a taste of
its own, and compares by Bradley and Terry's model; those who do not look toss a coin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

FIRST, SECOND, TIE = 0, 1, 2  # labels


@dataclass(frozen=True)
class Annotator:
    """How an annotator decides; the default follows Bradley and Terry's model of the true reward.

    temperature: units of reward in which differences are seen; 0 sees every one.
    skill: share of comparisons that are looked at; the others are a coin's.
    length_bias: reward that a token of length seems to be worth.
    disagreement: standard deviation, in reward, of the annotator's own taste for each response: the same
      whenever that response is seen.
    indifference: difference, in reward, below which the annotator calls a tie (Rao & Kupper 1967).
    """

    temperature: float = 1.0
    skill: float = 1.0
    length_bias: float = 0.0
    disagreement: float = 0.0
    indifference: float = 0.0

    def __post_init__(self):
        for name in ("temperature", "disagreement", "indifference"):
            if getattr(self, name) < 0:
                raise ValueError(f"annotator: {name}={getattr(self, name)}; it must not be negative")
        if not 0 <= self.skill <= 1:
            raise ValueError(f"annotator: skill={self.skill}; it must be between 0 and 1")


def label_probabilities(annotator: Annotator, difference_N: jax.Array) -> jax.Array:
    """Probabilities float32[N,3] of FIRST, SECOND and TIE.

    Of a difference d of what the annotator sees in the first and in the second response: σ((d − i)/τ) and
    σ((−d − i)/τ) with indifference i and temperature τ, the rest a tie; and a coin without skill.
    """

    def won(ahead_N: jax.Array) -> jax.Array:
        if annotator.temperature:
            return jax.nn.sigmoid(ahead_N / annotator.temperature)
        return jnp.heaviside(ahead_N, 0.0 if annotator.indifference else 0.5)

    first_N, second_N = (won(side * difference_N - annotator.indifference) for side in (1, -1))
    looked_N3 = jnp.stack([first_N, second_N, jnp.maximum(0, 1 - first_N - second_N)], axis=-1)
    return annotator.skill * looked_N3 + (1 - annotator.skill) * jnp.array([0.5, 0.5, 0.0])


def seen(annotator: Annotator, rewards_N: ArrayLike, lengths_N: ArrayLike, taste_N: ArrayLike) -> jax.Array:
    """What an annotator takes the rewards of responses to be, float32[N].

    Args:
      annotator: of whom `length_bias` and `disagreement` are read.
      rewards_N: the true ones.
      lengths_N: tokens of the responses.
      taste_N: the annotator's own, of mean 0 and variance 1.
    """
    length_N, taste_N = jnp.asarray(lengths_N), jnp.asarray(taste_N)
    return jnp.asarray(rewards_N) + annotator.length_bias * length_N + annotator.disagreement * taste_N


def labels(annotator: Annotator, difference_N: ArrayLike, draws_N: np.ndarray) -> np.ndarray:
    """FIRST, SECOND or TIE, int8[N], with `label_probabilities` of a difference of what is `seen`.

    Args:
      annotator: who labels.
      difference_N: of the first and the second response.
      draws_N: float[N], uniform in [0, 1): the lowest say FIRST, the highest SECOND.
    """
    chances_N3 = np.asarray(label_probabilities(annotator, jnp.asarray(difference_N)))
    first_N, tie_N = chances_N3[:, FIRST], chances_N3[:, TIE]
    undecided_N = np.where(draws_N < first_N + tie_N, TIE, SECOND) if annotator.indifference else SECOND
    return np.where(draws_N < first_N, FIRST, undecided_N).astype(np.int8)


def annotate(
    annotators: Sequence[Annotator],
    rewards_N2: jax.Array,
    lengths_N2: jax.Array,
    seed: int,
    responses_N2: jax.Array | None = None,
) -> np.ndarray:
    """Each annotator's labels, int8[K,N] of FIRST, SECOND and TIE; a pure function of its arguments.

    Args:
      annotators: K of them; those that are alike still draw for themselves.
      rewards_N2: true rewards of the first and second response of each pair.
      lengths_N2: their tokens.
      seed: of all draws. Annotator k draws the same whoever the others are.
      responses_N2: numbers of the responses, equal where a response is the same one: tastes are for
        responses. Default: all are different.
    """
    rewards_N2, lengths_N2 = jnp.asarray(rewards_N2, jnp.float32), jnp.asarray(lengths_N2, jnp.float32)
    if responses_N2 is None:
        responses_N2 = jnp.arange(rewards_N2.size).reshape(rewards_N2.shape)
    labels_KN = []
    for k, annotator in enumerate(annotators):
        key_taste, key_label = jax.random.split(jax.random.fold_in(jax.random.key(seed), k))
        keys_N2 = jax.vmap(lambda r, key=key_taste: jax.random.fold_in(key, r))(jnp.ravel(responses_N2))
        taste_N2 = jax.vmap(jax.random.normal)(keys_N2).reshape(rewards_N2.shape)
        seen_N2 = seen(annotator, rewards_N2, lengths_N2, taste_N2)
        chances_N3 = label_probabilities(annotator, seen_N2[:, 0] - seen_N2[:, 1])
        labels_KN.append(jax.random.categorical(key_label, jnp.log(chances_N3)))
    return np.asarray(jnp.stack(labels_KN), np.int8)
