"""Causal grouped-query attention: softmax(QKᵀ/√K)V over a whole sequence, or against a cache."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from models.config import TransformerConfig
from models.layers import rope, weight


class Attention(nnx.Module):
    """Query heads g·r … g·r+r-1 share key/value head g (Ainslie et al. 2023)."""

    def __init__(self, config: TransformerConfig, rngs: nnx.Rngs):
        d, h, g, k = config.d_model, config.n_heads, config.n_kv_heads, config.d_head
        self.w_q = weight(rngs, (d, h, k), d**-0.5)
        self.w_k = weight(rngs, (d, g, k), d**-0.5)
        self.w_v = weight(rngs, (d, g, k), d**-0.5)
        # Residual branches add up over 2L layers; 1/√(2L) keeps the sum at unit scale (GPT-2).
        self.w_o = weight(rngs, (h, k, d), (h * k * 2 * config.n_layers) ** -0.5)

    def project(self, x_BTD: jax.Array, tables) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Rotated queries [B,T,H,K], rotated keys [B,T,G,K] and values [B,T,G,K]."""
        q, k, v = (
            jnp.einsum("btd,dhk->bthk", x_BTD, w[...].astype(x_BTD.dtype))
            for w in (self.w_q, self.w_k, self.w_v)
        )
        return rope(q, *tables), rope(k, *tables), v

    def attend(self, q_BTHK, k_BSGK, v_BSGK, mask_BTS) -> jax.Array:
        """Output [B,T,D]; query t sees slot s where mask[b, t, s]."""
        q_BTGRK = q_BTHK.reshape(*q_BTHK.shape[:2], k_BSGK.shape[2], -1, q_BTHK.shape[-1])
        scores = jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK).astype(jnp.float32)
        scores = jnp.where(mask_BTS[:, None, None], scores / math.sqrt(q_BTHK.shape[-1]), -1e30)
        weights = jax.nn.softmax(scores, axis=-1).astype(v_BSGK.dtype)
        values_BTHK = jnp.einsum("bgrts,bsgk->btgrk", weights, v_BSGK).reshape(q_BTHK.shape)
        return jnp.einsum("bthk,hkd->btd", values_BTHK, self.w_o[...].astype(values_BTHK.dtype))

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
