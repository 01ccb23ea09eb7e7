"""What every family provides: pure functions of a plain parameter tree."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

Aux = dict[str, jax.Array]


@dataclass(frozen=True)
class Model:
    """A network as functions. Parameters are a nested dict of float32 arrays, layers stacked along axis 0.

    init(key) -> params
    hidden(params, tokens_BT, **source) -> (x_BTD, aux): what the head reads, already normalised; x at t
      depends on tokens 0…t only. `aux` is empty or holds scalars: "loss" is to be added to the training loss,
      the others are measurements.
    logits(params, x) -> float32 logits [..., V]
    prefill(params, tokens_BT, lengths_B, max_len, **source) -> (logits_BV, cache): rows are padded on the
      right, logits are those at each row's last real token, the cache has room for `max_len` tokens.
      Leaves of a cache are [L,B,…] or [B].
    decode(params, token_B, cache) -> (logits_BV, cache): one more token a row
    pack(params) -> a copy of the weights that `decode` reads faster on a CPU, if it finds it at "packed" in
      params; None where there is nothing to gain
    axes: what each dimension of each parameter is, a tree of `layers.Axes` like params

    `source` is for networks with an encoder: source_BS=, and source_mask_BS=, true at real tokens (default:
    all are).
    """

    config: Any
    init: Callable
    hidden: Callable
    logits: Callable
    prefill: Callable
    decode: Callable
    axes: Any = field(default=None, compare=False)
    has_encoder: bool = False
    pack: Callable | None = None

    def apply(self, params: Any, tokens_BT: jax.Array, **source: jax.Array) -> jax.Array:
        """Logits [B,T,V], float32."""
        return self.apply_with_aux(params, tokens_BT, **source)[0]

    def apply_with_aux(self, params: Any, tokens_BT: jax.Array, **source: jax.Array) -> tuple[jax.Array, Aux]:
        """Logits [B,T,V], float32, and the auxiliary scalars of `hidden`."""
        x_BTD, aux = self.hidden(params, tokens_BT, **source)
        return self.logits(params, x_BTD), aux
