"""How a transformer knows where a token is: rotary angles and their stretching, sinusoids, or distances."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from models.configs.layers import RopeScaling


def rope_frequencies(d_head: int, theta: float, scaling: RopeScaling | None) -> tuple[np.ndarray, float]:
    """Radians a token for each pair of dimensions [d_head/2], and the factor of cosines and sines.

    linear divides all (Chen et al. 2023); llama3 divides the slow ones and blends in between (Llama 3.1);
    yarn blends by the number of turns within the length trained on and sharpens attention (Peng et al. 2023);
    longrope divides each by a factor of its own (Ding et al. 2024).
    """
    frequencies = theta ** (-np.arange(0, d_head, 2, dtype=np.float64) / d_head)
    if scaling is None:
        return frequencies, 1.0
    if scaling.kind == "longrope":
        grown = math.log(scaling.factor) / math.log(scaling.original_len)
        return frequencies / np.array(scaling.factors), scaling.attention_factor or math.sqrt(1 + grown)
    slowed = frequencies / scaling.factor
    if scaling.kind == "linear":
        return slowed, 1.0
    turns = scaling.original_len * frequencies / (2 * math.pi)
    if scaling.kind == "llama3":
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = np.clip((turns - low) / (high - low), 0, 1)
        return kept * frequencies + (1 - kept) * slowed, 1.0

    def dimension(n_turns: float) -> float:
        """The (fractional) pair that turns this often within the length trained on."""
        return d_head * math.log(scaling.original_len / (n_turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, d_head - 1)
    kept = 1 - np.clip((np.arange(d_head // 2) - first) / max(last - first, 1e-3), 0, 1)
    factor = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1
    return kept * frequencies + (1 - kept) * slowed, factor


def rope_tables(
    positions: jax.Array, d_head: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines [..., d_head/2] of rotary positions (Su et al. 2021), float32.

    Args:
      positions: int32, of any shape.
      d_head: even.
      theta: the base of the geometric series of frequencies.
      scaling: how they are stretched.
    """
    frequencies_K, factor = rope_frequencies(d_head, theta, scaling)
    angles = positions[..., None].astype(jnp.float32) * jnp.asarray(frequencies_K, jnp.float32)
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rope(x_BTHK: jax.Array, cos_BTK: jax.Array, sin_BTK: jax.Array) -> jax.Array:
    """Rotates dimension i together with i + K/2 (the half-split convention of Llama checkpoints).

    Where the tables are narrower than K/2, only the first dimensions are rotated.
    """
    n_rotated = 2 * cos_BTK.shape[-1]
    if n_rotated < x_BTHK.shape[-1]:
        rotated = rope(x_BTHK[..., :n_rotated], cos_BTK, sin_BTK)
        return jnp.concatenate([rotated, x_BTHK[..., n_rotated:]], axis=-1)
    first, second = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos_BTK[..., None, :], sin_BTK[..., None, :]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTHK.dtype)


def sinusoids(positions: jax.Array, d_model: int) -> jax.Array:
    """Sines, then cosines [..., d_model] of geometrically spaced wavelengths (Vaswani et al. 2017)."""
    n = -(-d_model // 2)
    frequencies = jnp.exp(-math.log(10_000.0) * jnp.arange(n, dtype=jnp.float32) / max(n - 1, 1))
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :d_model]


def relative_position_bucket(
    key_minus_query: jax.Array, bidirectional: bool, n_buckets: int, max_distance: int
) -> jax.Array:
    """Number of the bucket of a relative position, as in T5.

    Half of the buckets hold one distance each, the others grow geometrically up to `max_distance`, and the
    last has all beyond. Looking both ways, the first half of the buckets is for keys at or before the query
    and the second for keys after it; a causal table has all its buckets for the former.

    Args:
      key_minus_query: int32 distances in tokens, of any shape.
      bidirectional: whether keys after the query have buckets, too.
      n_buckets: even.
      max_distance: in tokens.
    """
    n = n_buckets // 2 if bidirectional else n_buckets
    exact, distances = n // 2, np.arange(max_distance + 1)
    # In float32, as T5 computes it: at the edges of buckets the rounding decides.
    growth = np.log(np.maximum(distances, 1).astype(np.float32) / np.float32(exact))
    steps = growth / np.float32(np.log(max_distance / exact)) * np.float32(n - exact)
    far = np.minimum(exact + steps.astype(np.int32), n - 1)
    of_distance = jnp.asarray(np.where(distances < exact, distances, far))
    distance = jnp.abs(key_minus_query) if bidirectional else jnp.maximum(-key_minus_query, 0)
    number = of_distance[jnp.minimum(distance, max_distance)]
    return number + n * (key_minus_query > 0) if bidirectional else number
