"""Every response to a prompt, listed: exact objectives, gradients and optima, for tiny vocabularies.

What an algorithm should come to is then known without sampling: the policy that maximises E[r] - β KL, the
gradient there is, the distribution of best-of-n. Arrays over all responses end in R.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from models.model import Model

MOST = 100_000  # responses


@dataclass(frozen=True)
class EnumeratedResponses:
    """All responses of up to T tokens: they end with the first EOS, or are cut off after T.

    Attributes:
      tokens_RT: int32, 0 after the end. lengths_R: int32, EOS counted.
      ended_R: bool, whether they end with EOS; the others are cut off.
    """

    tokens_RT: np.ndarray
    lengths_R: np.ndarray
    ended_R: np.ndarray


def list_responses(vocab_size: int, max_length: int, eos_id: int = 1) -> EnumeratedResponses:
    """All responses, the shortest first; every id of the vocabulary counts as a token, 0 too.

    Raises:
      ValueError: there are more than MOST.
    """
    n = (vocab_size - 1) ** max_length + sum((vocab_size - 1) ** t for t in range(max_length))
    if n > MOST:
        raise ValueError(
            f"vocab_size={vocab_size} and max_length={max_length} make {n} responses; at most {MOST} are "
            "listed, take fewer tokens"
        )
    others = [i for i in range(vocab_size) if i != eos_id]
    ended = [(*front, eos_id) for t in range(max_length) for front in itertools.product(others, repeat=t)]
    listed = ended + list(itertools.product(others, repeat=max_length))
    tokens_RT = np.array([one + (0,) * (max_length - len(one)) for one in listed], np.int32)
    lengths_R = np.array([len(one) for one in listed], np.int32)
    return EnumeratedResponses(tokens_RT, lengths_R, np.arange(n) < len(ended))


def response_logps(
    model: Model, params: Any, prompt_P: ArrayLike, responses: EnumeratedResponses
) -> jax.Array:
    """float32[R]: log-probability of each response to a prompt, int32[P], at temperature 1.

    Their exponentials sum to 1, since the responses are all there are. Differentiable in `params`.

    Args:
      model, params: a decoder.
      prompt_P: int32[P], one for all responses.
      responses: every one that can follow.
    """
    n, prompt_P = len(responses.lengths_R), jnp.asarray(prompt_P, jnp.int32)
    tokens_RT = jnp.concatenate([jnp.tile(prompt_P, (n, 1)), responses.tokens_RT], axis=1)
    first = len(prompt_P) - 1  # the position that predicts the response's first token
    logits_RTV = model.apply(params, tokens_RT[:, :-1])[:, first:]
    logps_RT = jnp.take_along_axis(jax.nn.log_softmax(logits_RTV), responses.tokens_RT[..., None], axis=-1)[
        ..., 0
    ]
    inside_RT = np.arange(responses.tokens_RT.shape[1]) < responses.lengths_R[:, None]
    return jnp.where(inside_RT, logps_RT, 0.0).sum(axis=1)


def kl(logps_R: ArrayLike, ref_logps_R: ArrayLike) -> jax.Array:
    """KL(policy ‖ reference) in nats; what the policy never says counts 0."""
    logps_R, p_R = jnp.asarray(logps_R), jnp.exp(logps_R)
    return jnp.sum(jnp.where(p_R > 0, p_R * (logps_R - ref_logps_R), 0.0), axis=-1)


def objective(logps_R: ArrayLike, ref_logps_R: ArrayLike, rewards_R: ArrayLike, beta: ArrayLike) -> jax.Array:
    """E[r] - β KL(policy ‖ reference), exactly.

    Args:
      logps_R: log-probabilities of all responses under the policy.
      ref_logps_R: under the reference.
      rewards_R: of each response.
      beta: weight of the divergence.
    """
    return jnp.sum(jnp.exp(logps_R) * rewards_R, axis=-1) - beta * kl(logps_R, ref_logps_R)


def optimum(ref_logps_R: ArrayLike, rewards_R: ArrayLike, beta: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """(log-probabilities of the best policy, the best value of `objective`).

    π* = π_ref exp(r / β) / Z and β log Z (Rafailov et al. 2023, arXiv 2305.18290, eq. 4).
    """
    tilted_R = jnp.asarray(ref_logps_R) + jnp.asarray(rewards_R) / beta
    log_z = jax.nn.logsumexp(tilted_R, axis=-1, keepdims=True)
    return tilted_R - log_z, jnp.asarray(beta) * log_z[..., 0]


def total_variation(logps_R: ArrayLike, other_logps_R: ArrayLike) -> jax.Array:
    """Half the sum of differences of probabilities: 0 for equal policies, 1 for disjoint ones."""
    return 0.5 * jnp.abs(jnp.exp(logps_R) - jnp.exp(other_logps_R)).sum(axis=-1)


def best_of_n_logps(ref_logps_R: ArrayLike, rewards_R: ArrayLike, n: int) -> np.ndarray:
    """float64[R]: exact log-probabilities of the best of n samples, the first of equals.

    Its divergence, `kl` of it, is log n - (n - 1) / n where the responses are endlessly many and no two
    rewards are equal, and less otherwise (Beirami et al. 2024, arXiv 2401.01879).
    """
    p_R = np.exp(np.asarray(ref_logps_R, np.float64))
    levels, level_R = np.unique(np.asarray(rewards_R), return_inverse=True)
    p_level = np.bincount(level_R, p_R, len(levels))
    at_most = np.cumsum(p_level) / p_level.sum()
    below = np.concatenate([[0.0], at_most[:-1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        # at_most^n - below^n, without cancellation where a level is rare; given the level, p_R decides.
        best_level = at_most**n * -np.expm1(n * np.log(below / at_most))
        within_R = np.where(p_R > 0, np.log(p_R) - np.log(p_level[level_R]), -np.inf)
        return np.log(best_level[level_R]) + within_R
