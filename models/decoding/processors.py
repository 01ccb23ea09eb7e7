"""From logits to the distribution that is sampled: pure functions [B,V] -> [B,V], removed tokens become -inf.

Numbers may be traced, so changing one does not recompile. Each has a value at which it changes nothing:
temperature 1, top_k 0, top_p 1, min_p 0, repetition_penalty 1.
"""

import jax
import jax.numpy as jnp


def process(logits_BV: jax.Array, seen_BV: jax.Array, settings: dict[str, jax.Array]) -> jax.Array:
    """All processors in the order of Hugging Face's `generate`; `settings` holds one scalar for each."""
    logits_BV = repetition_penalty(logits_BV, seen_BV, settings["repetition_penalty"])
    logits_BV = temperature(logits_BV, settings["temperature"])
    logits_BV = top_k(logits_BV, settings["top_k"])
    logits_BV = top_p(logits_BV, settings["top_p"])
    return min_p(logits_BV, settings["min_p"])


def repetition_penalty(logits_BV: jax.Array, seen_BV: jax.Array, penalty: jax.Array | float) -> jax.Array:
    """Makes seen tokens less likely if penalty > 1: positive logits are divided by it, negative multiplied.

    `seen_BV` is bool: the token occurs in the prompt or in what was sampled (Keskar et al. 2019, §4.1).
    """
    penalised_BV = jnp.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return jnp.where(seen_BV, penalised_BV, logits_BV)


def temperature(logits_BV: jax.Array, t: jax.Array | float) -> jax.Array:
    """Divides logits by `t`; 0 keeps the largest alone (of equal ones, the first), without a division."""
    largest_BV = jax.nn.one_hot(jnp.argmax(logits_BV, axis=-1), logits_BV.shape[-1], dtype=bool)
    greedy_BV = jnp.where(largest_BV, 0.0, -jnp.inf)
    return jnp.where(t == 0, greedy_BV, logits_BV / jnp.where(t == 0, 1.0, t))


def top_k(logits_BV: jax.Array, k: jax.Array | int) -> jax.Array:
    """Keeps the k largest logits and what equals the k-th; k = 0 keeps all (Fan et al. 2018)."""
    some = (k > 0) & (k < logits_BV.shape[-1])
    return jax.lax.cond(some, lambda x: _keep_largest(x, jnp.ones_like(x), k), lambda x: x, logits_BV)


def top_p(logits_BV: jax.Array, p: jax.Array | float) -> jax.Array:
    """Keeps the most likely tokens until their mass reaches p, at least one (Holtzman et al. 2020).

    The token that crosses p is in, and so is what equals it; p = 1 keeps all.
    """
    return jax.lax.cond(p < 1, lambda x: _keep_largest(x, jax.nn.softmax(x), p), lambda x: x, logits_BV)


def min_p(logits_BV: jax.Array, p: jax.Array | float) -> jax.Array:
    """Keeps tokens at least p times as likely as the most likely one (Nguyen et al. 2024)."""
    floor_B1 = jnp.max(logits_BV, axis=-1, keepdims=True) + jnp.log(p)
    return jnp.where(logits_BV < floor_B1, -jnp.inf, logits_BV)


def _keep_largest(logits_BV: jax.Array, weights_BV: jax.Array, budget: jax.Array | float) -> jax.Array:
    """Keeps the tokens whose strictly larger tokens together weigh less than `budget`.

    The cut-off is found by bisection over all float32 values: exact, and on CPU 20 times faster than a sort.
    """
    bits_BV = jax.lax.bitcast_convert_type(logits_BV.astype(jnp.float32), jnp.int32)
    # Flipping the magnitude of negative floats makes their bits increase with their value.
    order_BV = jnp.where(bits_BV < 0, bits_BV ^ 0x7FFFFFFF, bits_BV)

    def halve(_, bounds):
        low_B1, high_B1 = bounds
        middle_B1 = (low_B1 & high_B1) + ((low_B1 ^ high_B1) >> 1)  # the mean, without overflow
        above_B1 = jnp.sum(jnp.where(order_BV > middle_B1, weights_BV, 0), axis=-1, keepdims=True)
        enough_B1 = above_B1 >= budget
        return jnp.where(enough_B1, middle_B1 + 1, low_B1), jnp.where(enough_B1, high_B1, middle_B1)

    high_B1 = jnp.max(order_BV, axis=-1, keepdims=True)
    low_B1 = jnp.full_like(high_B1, jnp.iinfo(jnp.int32).min)
    _, cutoff_B1 = jax.lax.fori_loop(0, 32, halve, (low_B1, high_B1))
    return jnp.where(order_BV < cutoff_B1, -jnp.inf, logits_BV)
