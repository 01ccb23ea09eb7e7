"""How a transformer knows where a token is: rotary angles and their stretching, or sinusoids."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from models.config import RopeScaling


def rope_frequencies(d_head: int, theta: float, scaling: RopeScaling | None) -> tuple[np.ndarray, float]:
    """Radians a token for each pair of dimensions [d_head/2], and the factor of cosines and sines.

    linear divides all (Chen et al. 2023); llama3 divides the slow ones and blends in between (Llama 3.1);
    yarn blends by the number of turns within the length trained on and sharpens attention (Peng et al. 2023).
    """
    frequencies = theta ** (-np.arange(0, d_head, 2, dtype=np.float64) / d_head)
    if scaling is None:
        return frequencies, 1.0
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
    """Cosines and sines [..., d_head/2] of rotary positions (Su et al. 2021), float32."""
    frequencies_K, factor = rope_frequencies(d_head, theta, scaling)
    angles = positions[..., None].astype(jnp.float32) * jnp.asarray(frequencies_K, jnp.float32)
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rope(x_BTHK: jax.Array, cos_BTK: jax.Array, sin_BTK: jax.Array) -> jax.Array:
    """Rotates dimension i together with i + K/2 (the half-split convention of Llama checkpoints)."""
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
