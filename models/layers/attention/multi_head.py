"""Attention: softmax(QKᵀ·scale)V over a whole sequence, or against a cache of keys and values."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.layers import QKNorm
from models.layers.attention import kernels
from models.layers.linear import project
from models.layers.norms import RMSNorm
from models.layers.positions import rope
from models.parameters import Keys, constant, weight
from models.sharding import constrain, platform


class Attention(nnx.Module):
    """Causal self-attention; query heads g·r … g·r+r-1 share key/value head g (Ainslie et al. 2023)."""

    def __init__(
        self,
        keys: Keys,
        d_model: int,
        n_heads: int,
        n_kv_heads: int,
        d_head: int,
        *,
        scale: float,
        output_std: float,
        qkv_bias: bool = False,
        output_bias: bool = False,
        qk_norm: QKNorm = "none",
        norm_eps: float = 1e-6,
        cap: float = 0.0,
        sinks: bool = False,
    ):
        """Weights that start at 1/√d_model, but for those of the output, and biases at zero.

        Args:
          scale: multiplies the scores.
          qk_norm: RMSNorm of queries and keys by "head", or over all heads' "width".
          cap: bounds the scores; see `softcap`.
          sinks: gives every head a score without a key; see `softmax`.
        """
        d, h, g, k = d_model, n_heads, n_kv_heads, d_head
        self.w_q = weight(keys, (d, h, k), d**-0.5, "embed -> heads head")
        self.w_k = weight(keys, (d, g, k), d**-0.5, "embed -> kv_heads head")
        self.w_v = weight(keys, (d, g, k), d**-0.5, "embed -> kv_heads head")
        self.w_o = weight(keys, (h, k, d), output_std, "heads head -> embed")
        self.b_q = constant(0.0, (h, k), "-> heads head") if qkv_bias else None
        self.b_k = constant(0.0, (g, k), "-> kv_heads head") if qkv_bias else None
        self.b_v = constant(0.0, (g, k), "-> kv_heads head") if qkv_bias else None
        self.b_o = constant(0.0, (d,), "-> embed") if output_bias else None
        self.q_norm = _qk_norm(qk_norm, (h, k), "heads", norm_eps)
        self.k_norm = _qk_norm(qk_norm, (g, k), "kv_heads", norm_eps)
        self.sinks = constant(0.0, (h,), "-> heads") if sinks else None
        self.scale, self.softcap = scale, cap

    @property
    def sinks_H(self) -> jax.Array | None:
        """The score of each head without a key, float32."""
        return None if self.sinks is None else self.sinks[...]

    def queries_keys_values(self, x_BTD: jax.Array, tables) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [B,T,H,K], keys [B,T,G,K] and values [B,T,G,K]; `tables` rotate the first two, if given."""
        q = project(x_BTD, self.w_q, self.b_q)
        k = project(x_BTD, self.w_k, self.b_k)
        v = project(x_BTD, self.w_v, self.b_v)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if tables is not None:
            q, k = rope(q, *tables), rope(k, *tables)
        return constrain(q, "batch", "length", "heads", None), k, v

    def output(self, q_BTHK, k_BSGK, v_BSGK, mask_BTS) -> jax.Array:
        """What the queries read, projected [B,T,D].

        Args:
          q_BTHK: queries.
          k_BSGK, v_BSGK: keys and values, of which groups of heads share one.
          mask_BTS: bool, which of them each query reads.
        """
        values_BTHK = attend(
            q_BTHK, k_BSGK, v_BSGK, mask_BTS, self.scale, cap=self.softcap, sinks_H=self.sinks_H
        )
        return project(values_BTHK, self.w_o, self.b_o)

    def __call__(self, x_BTD: jax.Array, tables, mask_BTS: jax.Array, window: int | None):
        """Self-attention over the sequence; also the keys and values, which prefill stores.

        `window` says what a causal mask hides besides the future (0: nothing). None: the mask is not just
        that but of rows with several texts. JAX gives cuDNN no segments, only a bias as large as the scores,
        so these take the path that has scores anyway.
        """
        q, k, v = self.queries_keys_values(x_BTD, tables)
        sinks = self.sinks is not None
        if window is not None and not kernels.missing(q, k, self.softcap, sinks):
            values = kernels.fused_attention(q, k, v, self.scale, window, self.softcap)
            return project(values, self.w_o, self.b_o), (k, v)
        return self.output(q, k, v, mask_BTS), (k, v)

    def decode(self, x_B1D, tables, cache, position_B):
        """One token a row against the row's cache (k, v), in which it takes a slot; see `in_parts`.

        Args:
          x_B1D: the normalised stream at the token.
          tables: of the positions, as `queries_keys_values` takes them.
          cache: (parts of k, parts of v), lists of [B,G,S/n,K].
          position_B: int32, the token's position.
        """
        q, k, v = self.queries_keys_values(x_B1D, tables)
        k_parts, v_parts = (write_slot(parts, new[:, 0], position_B) for parts, new in zip(cache, (k, v)))
        values = attend_to_parts(q, k_parts, v_parts, position_B, self.scale, self.softcap, self.sinks_H)
        return project(values, self.w_o, self.b_o), (k_parts, v_parts)


def _qk_norm(kind: QKNorm, shape: tuple[int, int], axis: str, eps: float) -> RMSNorm | None:
    """The norm of queries or keys: of each head alike, of all heads as one vector, or none."""
    if kind == "head":
        return RMSNorm(shape[1:], eps, "-> head")
    return RMSNorm(shape, eps, f"-> {axis} head") if kind == "width" else None


def causal_mask(n: int, window: int = 0) -> jax.Array:
    """[1,n,n]: query t sees keys 0…t, or only the last `window` of them."""
    back = jnp.arange(n)[:, None] - jnp.arange(n)
    return ((back >= 0) & (back < (window or n)))[None]


def slot_positions(last_B: jax.Array, n_slots: int) -> jax.Array:
    """[B,S]: the position whose token slot s holds when the newest is at `last`; negative: none yet.

    Position p lies in slot p mod S. With as many slots as tokens that is a plain list; with as many as a
    sliding window is long it is a ring that has forgotten just what the window no longer sees.
    """
    return last_B[:, None] - (last_B[:, None] - jnp.arange(n_slots)) % n_slots


def to_slots(k_BTGK: jax.Array, lengths_B: jax.Array, n_slots: int) -> jax.Array:
    """Keys or values of right-padded rows as a cache [B,S,G,K]."""
    held_BS = slot_positions(lengths_B - 1, n_slots)
    # Slots that hold nothing get what lies at 0, and are masked until they are written.
    return jnp.take_along_axis(k_BTGK, jnp.maximum(held_BS, 0)[..., None, None], axis=1)


def in_parts(slots_BSGK: jax.Array) -> list[jax.Array]:
    """A cache as `Attention.decode` takes it: consecutive slots as parts [B,G,S/n,K].

    On a CPU parts that no row has reached are not read. An accelerator would have to stop and ask: one part.
    """
    n_slots = slots_BSGK.shape[1]
    n_parts = 4 if platform() == "cpu" and n_slots >= 64 and n_slots % 4 == 0 else 1
    return jnp.split(slots_BSGK.swapaxes(1, 2), n_parts, axis=2)


def write_slot(parts: list[jax.Array], new_BGK: jax.Array, position_B: jax.Array) -> list[jax.Array]:
    """The parts with a new key or value of each row in the slot of its position."""
    n_rows, n_groups, size, _ = parts[0].shape
    slot_B = position_B % (size * len(parts))
    written = []
    for i, part_BGSK in enumerate(parts):
        # What belongs into another part is put beyond the end, and dropped. Row and group go by their
        # numbers: for one row XLA would make a slice of it that copies the cache.
        at_B1 = jnp.where(slot_B // size == i, slot_B % size, size)[:, None]
        place = jnp.arange(n_rows)[:, None], jnp.arange(n_groups), at_B1
        written.append(part_BGSK.at[place].set(new_BGK, mode="drop"))
    return written


def attend_to_parts(
    q_B1HK, k_parts, v_parts, position_B, scale: float, cap: float, sinks_H: jax.Array | None = None
) -> jax.Array:
    """Values [B,1,H,K] that one query a row gathers from the slots which its row has filled.

    Args:
      q_B1HK: queries.
      k_parts, v_parts: keys and values as `in_parts` divides them, [B,G,S/n,K] each.
      position_B: int32, the position of the query.
      scale: multiplies the scores.
      cap: bounds the scores; see `softcap`.
      sinks_H: a score without a key for each head; see `softmax`.
    """
    b, _, h, k = q_B1HK.shape  # values may be of another width
    n_groups, size = k_parts[0].shape[1:3]
    q_BGRK = (q_B1HK * scale).reshape(b, n_groups, -1, k)
    seen_BS = slot_positions(position_B, size * len(k_parts)) >= 0

    def if_reached(i: int, product, a_BGRX: jax.Array, part_BGSK: jax.Array) -> jax.Array:
        """The product with part i; 0 where no row has reached it, as by a softmax that sees none of it."""
        if i == 0:
            return product(a_BGRX, part_BGSK)
        out = jax.eval_shape(product, a_BGRX, part_BGSK)
        reached = jnp.any(seen_BS[:, i * size])
        return jax.lax.cond(reached, product, lambda *_: jnp.zeros(out.shape, out.dtype), a_BGRX, part_BGSK)

    scores = [if_reached(i, _scores, q_BGRK, part) for i, part in enumerate(k_parts)]
    scores_BGRS = softcap(jnp.concatenate(scores, axis=3).astype(jnp.float32), cap)
    sinks_GR1 = None if sinks_H is None else sinks_H.reshape(n_groups, -1, 1)
    weights_BGRS = softmax(scores_BGRS, seen_BS[:, None, None], sinks_GR1).astype(q_BGRK.dtype)
    weights = jnp.split(weights_BGRS, len(v_parts), axis=3)
    values = [if_reached(i, jnp.matmul, weights[i], part) for i, part in enumerate(v_parts)]
    return functools.reduce(jnp.add, values).reshape(b, 1, h, -1)


def attend(
    q_BTHK,
    k_BSGK,
    v_BSGK,
    mask_BTS,
    scale: float,
    *,
    cap: float = 0.0,
    bias_HTS: jax.Array | None = None,
    sinks_H: jax.Array | None = None,
) -> jax.Array:
    """Values [B,T,H,K] that each query gathers from the slots its mask lets it see.

    Args:
      q_BTHK, k_BSGK, v_BSGK: queries, keys and values in the compute type; H is a multiple of G.
      mask_BTS: bool, true where a query sees a key.
      scale: multiplies the scores.
      cap: bounds the scores; see `softcap`.
      bias_HTS: float32 [H,T,S] or [B,H,T,S], added to the scores.
      sinks_H: a score without a key for each head; see `softmax`.
    """
    k_BGSK, v_BGSK = k_BSGK.transpose(0, 2, 1, 3), v_BSGK.transpose(0, 2, 1, 3)
    b, t, h, k = q_BTHK.shape
    g = k_BGSK.shape[1]
    # The h/g query heads of a group become rows of one matrix product with the group's keys.
    q_BGRK = (q_BTHK * scale).reshape(b, t, g, -1, k).transpose(0, 2, 3, 1, 4).reshape(b, g, -1, k)
    mask_BGRS = jnp.tile(mask_BTS, (1, h // g, 1))[:, None]
    if cap or bias_HTS is not None or sinks_H is not None:
        scores_BGRS = softcap((q_BGRK @ k_BGSK.swapaxes(2, 3)).astype(jnp.float32), cap)
        if bias_HTS is not None:
            scores_BGRS = scores_BGRS + bias_HTS.reshape(*bias_HTS.shape[:-3], g, -1, bias_HTS.shape[-1])
        sinks_GR1 = None if sinks_H is None else jnp.repeat(sinks_H.reshape(g, -1, 1), t, axis=1)
        values_BGRK = softmax(scores_BGRS, mask_BGRS, sinks_GR1).astype(v_BGSK.dtype) @ v_BGSK
    else:
        values_BGRK = softmax_attention(q_BGRK, k_BGSK, v_BGSK, mask_BGRS)
    return values_BGRK.reshape(b, h, t, -1).transpose(0, 2, 1, 3)


def _scores(q_BGRK: jax.Array, k_BGSK: jax.Array) -> jax.Array:
    """Products [B,G,R,S] of few queries and many keys; as q kᵀ, XLA would transpose all the keys first."""
    return (k_BGSK @ q_BGRK.swapaxes(2, 3)).swapaxes(2, 3)


def softcap(x: jax.Array, cap: float) -> jax.Array:
    """cap · tanh(x / cap); as it is where `cap` is 0 (Gemma 2)."""
    return cap * jnp.tanh(x / cap) if cap else x


def softmax(scores: jax.Array, mask: jax.Array, sinks: jax.Array | None = None) -> jax.Array:
    """Softmax over the last axis where the mask is true.

    Sinks [..., 1] are scores that take part and have no place in the result, which then sums to less than one
    (gpt-oss, OpenAI 2025; Miller 2023's one more in the denominator, learnt).
    """
    scores = jnp.where(mask, scores, -1e30)
    if sinks is None:
        return jax.nn.softmax(scores, axis=-1)
    top = jax.lax.stop_gradient(jnp.maximum(scores.max(axis=-1, keepdims=True), sinks))
    weights = jnp.exp(scores - top)
    return weights / (weights.sum(axis=-1, keepdims=True) + jnp.exp(sinks - top))


@jax.custom_vjp
def softmax_attention(q_BGRK, k_BGSK, v_BGSK, mask_BGRS) -> jax.Array:
    """softmax(qkᵀ)v [B,G,R,K] over the slots that the mask lets each of R rows see; scores in float32.

    The gradient is written out (as in Dao et al. 2022, without tiles) for the reason given at `matmul`: where
    heads are small it takes half the time of the derived one.

    Args:
      q_BGRK: scaled queries; R are those of all heads of a group, at all positions.
      k_BGSK, v_BGSK: keys and values.
      mask_BGRS: bool, or broadcast to that.
    """
    return _attention_forward(q_BGRK, k_BGSK, v_BGSK, mask_BGRS)[0]


def _attention_forward(q_BGRK, k_BGSK, v_BGSK, mask_BGRS):
    scores_BGRS = (q_BGRK @ k_BGSK.swapaxes(2, 3)).astype(jnp.float32)
    weights_BGRS = softmax(scores_BGRS, mask_BGRS).astype(v_BGSK.dtype)
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
