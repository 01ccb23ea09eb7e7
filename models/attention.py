"""Causal grouped-query attention: softmax(QKᵀ/√K)V over a whole sequence, or against a cache."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from models.config import TransformerConfig
from models.layers import Keys, matmul, rope, weight


class Attention(nnx.Module):
    """Query heads g·r … g·r+r-1 share key/value head g (Ainslie et al. 2023)."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        d, h, g, k = config.d_model, config.n_heads, config.n_kv_heads, config.d_head
        self.w_q = weight(keys, (d, h, k), d**-0.5)
        self.w_k = weight(keys, (d, g, k), d**-0.5)
        self.w_v = weight(keys, (d, g, k), d**-0.5)
        # Residual branches add up over 2L layers; 1/√(2L) keeps the sum at unit scale (GPT-2).
        self.w_o = weight(keys, (h, k, d), (h * k * 2 * config.n_layers) ** -0.5)

    def project(self, x_BTD: jax.Array, tables) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Rotated queries [B,T,H,K], rotated keys [B,T,G,K] and values [B,T,G,K]."""
        q, k, v = (
            matmul(x_BTD, flat(w, 1).astype(x_BTD.dtype)).reshape(*x_BTD.shape[:2], *w.shape[1:])
            for w in (self.w_q, self.w_k, self.w_v)
        )
        return rope(q, *tables), rope(k, *tables), v

    def attend(self, q_BTHK, k_BSGK, v_BSGK, mask_BTS) -> jax.Array:
        """Output [B,T,D]; query t sees slot s where mask[b, t, s]."""
        b, t, h, k = q_BTHK.shape
        g = k_BSGK.shape[2]
        # The h/g query heads of a group become rows of one matrix product with the group's keys.
        q_BGRK = (q_BTHK * k**-0.5).reshape(b, t, g, -1, k).transpose(0, 2, 3, 1, 4).reshape(b, g, -1, k)
        mask_BGRS = jnp.tile(mask_BTS, (1, h // g, 1))[:, None]
        k_BGSK, v_BGSK = k_BSGK.transpose(0, 2, 1, 3), v_BSGK.transpose(0, 2, 1, 3)
        values_BHTK = softmax_attention(q_BGRK, k_BGSK, v_BGSK, mask_BGRS).reshape(b, h, t, k)
        values_BTF = values_BHTK.transpose(0, 2, 1, 3).reshape(b, t, -1)
        return matmul(values_BTF, flat(self.w_o, 2).astype(values_BTF.dtype))

    def __call__(self, x_BTD: jax.Array, tables, mask_BTS: jax.Array):
        """Self-attention over the sequence; also the keys and values, which prefill stores."""
        q, k, v = self.project(x_BTD, tables)
        return self.attend(q, k, v, mask_BTS), (k, v)

    def decode(self, x_B1D, tables, cache_k_BSGK, cache_v_BSGK, position_B):
        """One token a row, written to slot `position` of its cache, attending to slots 0…position."""
        q, k, v = self.project(x_B1D, tables)
        rows = jnp.arange(x_B1D.shape[0])
        cache_k_BSGK = cache_k_BSGK.at[rows, position_B].set(k[:, 0])
        cache_v_BSGK = cache_v_BSGK.at[rows, position_B].set(v[:, 0])
        mask_B1S = (jnp.arange(cache_k_BSGK.shape[1]) <= position_B[:, None])[:, None]
        return self.attend(q, cache_k_BSGK, cache_v_BSGK, mask_B1S), (cache_k_BSGK, cache_v_BSGK)


@jax.custom_vjp
def softmax_attention(q_BGRK, k_BGSK, v_BGSK, mask_BGRS) -> jax.Array:
    """softmax(qkᵀ)v [B,G,R,K] over the slots that the mask lets each of R rows see; scores in float32.

    The gradient is written out (as in Dao et al. 2022, without tiles) for the reason given at `matmul`: where
    heads are small it takes half the time of the derived one.
    """
    return _attention_forward(q_BGRK, k_BGSK, v_BGSK, mask_BGRS)[0]


def _attention_forward(q_BGRK, k_BGSK, v_BGSK, mask_BGRS):
    scores_BGRS = (q_BGRK @ k_BGSK.swapaxes(2, 3)).astype(jnp.float32)
    weights_BGRS = jax.nn.softmax(jnp.where(mask_BGRS, scores_BGRS, -1e30), axis=-1).astype(v_BGSK.dtype)
    values_BGRK = weights_BGRS @ v_BGSK
    return values_BGRK, (q_BGRK, k_BGSK, v_BGSK, weights_BGRS, values_BGRK)


def _attention_backward(saved, d_values_BGRK):
    q_BGRK, k_BGSK, v_BGSK, weights_BGRS, values_BGRK = saved
    d_v_BGSK = _transposed_product(weights_BGRS, d_values_BGRK)
    d_weights_BGRS = d_values_BGRK @ v_BGSK.swapaxes(2, 3)
    # Σ_s w·dw, the softmax's own share of the gradient, is the product of output and its gradient.
    share_BGR1 = (d_values_BGRK * values_BGRK).sum(axis=-1, keepdims=True)
    d_scores_BGRS = weights_BGRS * (d_weights_BGRS - share_BGR1)
    return d_scores_BGRS @ k_BGSK, _transposed_product(d_scores_BGRS, q_BGRK), d_v_BGSK, None


def _transposed_product(a_BGRS, b_BGRK) -> jax.Array:
    """aᵀb [B,G,S,K], computed as (bᵀa)ᵀ: the small matrix is transposed, not the large one.

    The barriers keep XLA from turning it back.
    """
    b_BGKR = jax.lax.optimization_barrier(b_BGRK.swapaxes(2, 3))
    return jax.lax.optimization_barrier(b_BGKR @ a_BGRS).swapaxes(2, 3)


softmax_attention.defvjp(_attention_forward, _attention_backward)


def flat(w: nnx.Param, n_in: int) -> jax.Array:
    """The weight as a matrix: its first `n_in` axes are inputs, the others outputs."""
    return w[...].reshape(math.prod(w.shape[:n_in]), -1)
