"""Attention whose keys and values come of one narrow vector a token, the latent: all that decoding keeps.

Shape letters besides those of `models.model`: R the latent's width, P the dimensions that are rotated, N the
others of a head, X the width of a head's values.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.layers import Latent
from models.layers.attention.multi_head import attend, attend_to_parts, write_slot
from models.layers.linear import project, whole
from models.layers.norms import RMSNorm
from models.layers.positions import rope
from models.parameters import Keys, weight
from models.sharding import constrain

EPS = 1e-6  # of the norms of latents


class LatentAttention(nnx.Module):
    """Causal self-attention, called as `Attention` is; its cache has the rotated keys and the latents.

    Over a sequence keys and values are made from the latents. Decoding instead takes the queries to the
    latents, which then are keys and values of all heads at once.
    """

    def __init__(
        self,
        keys: Keys,
        d_model: int,
        n_heads: int,
        d_head: int,
        latent: Latent,
        *,
        scale: float,
        output_std: float,
        narrow_std: float,
    ):
        """Weights that start at 1/√fan-in, but for those of the output and into the latents.

        Args:
          scale: multiplies the scores.
          output_std, narrow_std: of the two.
        """
        d, h, r, q = d_model, n_heads, latent.kv_rank, latent.q_rank
        self.w_q_in = weight(keys, (d, q), narrow_std, "embed -> rank") if q else None
        self.q_norm = RMSNorm((q,), EPS, "-> rank") if q else None
        into = "rank" if q else "embed"
        self.w_q = weight(keys, (q or d, h, d_head), (q or d) ** -0.5, f"{into} -> heads head")
        self.w_kv_in = weight(keys, (d, r), narrow_std, "embed -> rank")
        self.kv_norm = RMSNorm((r,), EPS, "-> rank")
        self.w_k_rope = weight(keys, (d, latent.d_rope), d**-0.5, "embed -> head")
        self.w_k = weight(keys, (r, h, d_head - latent.d_rope), r**-0.5, "rank -> heads head")
        self.w_v = weight(keys, (r, h, latent.d_value), r**-0.5, "rank -> heads head")
        self.w_o = weight(keys, (h, latent.d_value, d), output_std, "heads head -> embed")
        self.scale, self.n_fixed, self.rank = scale, d_head - latent.d_rope, r
        self.softcap, self.sinks, self.b_o = 0.0, None, None  # which it has not

    def queries_latents(self, x_BTD: jax.Array, tables) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [B,T,H,N+P], rotated keys [B,T,1,P] and latents [B,T,1,R]."""
        read = x_BTD
        if self.w_q_in is not None and self.q_norm is not None:
            read = self.q_norm(project(x_BTD, self.w_q_in))
        fixed, rotated = jnp.split(project(read, self.w_q), [self.n_fixed], axis=-1)
        q = jnp.concatenate([fixed, rope(rotated, *tables)], axis=-1)
        k_rope_BT1P = rope(project(x_BTD, self.w_k_rope)[:, :, None], *tables)
        latent_BT1R = self.kv_norm(project(x_BTD, self.w_kv_in))[:, :, None]
        return constrain(q, "batch", "length", "heads", None), k_rope_BT1P, latent_BT1R

    def keys_values(self, k_rope_BT1P: jax.Array, latent_BT1R: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys [B,T,H,N+P] and values [B,T,H,X] of all heads."""
        k_BTHN, v_BTHX = (project(latent_BT1R[:, :, 0], w) for w in (self.w_k, self.w_v))
        k_rope = jnp.broadcast_to(k_rope_BT1P, (*k_BTHN.shape[:3], k_rope_BT1P.shape[-1]))
        return jnp.concatenate([k_BTHN, k_rope], axis=-1), v_BTHX

    def queries_keys_values(self, x_BTD: jax.Array, tables) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries and keys [B,T,H,N+P], and values [B,T,H,X]."""
        q, *kept = self.queries_latents(x_BTD, tables)
        return q, *self.keys_values(*kept)

    def __call__(self, x_BTD: jax.Array, tables, mask_BTS: jax.Array, window: int | None):
        """Self-attention over the sequence; also rotated keys and latents, which prefill stores.

        No kernel has heads of values narrower than those of keys: `window` is of no use here.
        """
        q, k_rope_BT1P, latent_BT1R = self.queries_latents(x_BTD, tables)
        values_BTHX = attend(q, *self.keys_values(k_rope_BT1P, latent_BT1R), mask_BTS, self.scale)
        return project(values_BTHX, self.w_o), (k_rope_BT1P, latent_BT1R)

    def decode(self, x_B1D: jax.Array, tables, cache: Any, position_B: jax.Array):
        """One token a row against the row's rotated keys and latents, in which it takes a slot.

        Args:
          x_B1D: the normalised stream at the token.
          tables: of the positions, as `queries_latents` takes them.
          cache: (parts of rotated keys, parts of latents), lists of [B,1,S/n,P] and [B,1,S/n,R].
          position_B: int32, the token's position.
        """
        q, *new = self.queries_latents(x_B1D, tables)
        ropes, latents = (write_slot(parts, each[:, 0], position_B) for parts, each in zip(cache, new))
        fixed, rotated = jnp.split(q, [self.n_fixed], axis=-1)
        q_latent_B1HR = jnp.einsum("bthn,rhn->bthr", fixed, whole(self.w_k, q.dtype))
        query = jnp.concatenate([rotated, q_latent_B1HR], axis=-1)
        k_parts = [jnp.concatenate(both, axis=-1) for both in zip(ropes, latents)]
        read_B1HR = attend_to_parts(query, k_parts, latents, position_B, self.scale, cap=0.0)
        values_B1HX = jnp.einsum("bthr,rhx->bthx", read_B1HR, whole(self.w_v, q.dtype))
        return project(values_B1HX, self.w_o), (ropes, latents)
