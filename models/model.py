"""What every family provides: pure functions of a plain parameter tree.

Shape letters at the ends of names, in all of models/: B batch, T time, D model width, F feed-forward width,
H query heads, G key/value heads, K head size, V vocabulary, L layers, S cache slots or source tokens,
E experts, C capacity or tokens of a chunk. A number stands for itself: x_B1D has one token a row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from models.configs.model_config import ModelConfig

Aux = dict[str, jax.Array]


@dataclass(frozen=True)
class Model:
    """A network as functions. Parameters are a nested dict of float32 arrays, layers stacked along axis 0.

    init(key) -> params
    hidden(params, tokens_BT, segments_BT=None, **source) -> (x_BTD, aux): what the head reads, already
      normalised; x at t depends on tokens 0…t only. `aux` is empty or holds scalars: "loss" is to be added to
      the training loss, the others are measurements. With `segments_BT` (int32; `layers.segments`) a row
      holds several texts, numbered 1, 2, …, and 0 at padding: attention, positions and recurrent states stay
      within a text, no expert drops a token, and each text's x is that of the text alone. Networks with an
      encoder refuse it.
    logits(params, x) -> float32 logits [..., V]
    prefill(params, tokens_BT, lengths_B, max_len, **source) -> (logits_BV, cache): rows are padded on the
      right, logits are those at each row's last real token, the cache has room for `max_len` tokens.
      Leaves of a cache are [L,B,…] or [B].
    decode(params, token_B, cache) -> (logits_BV, cache): one more token a row
    pack(params, int8=False) -> a copy of the weights that `decode` reads faster on a CPU, if it finds it at
      "packed" in params; with `int8` in 8 bits (`layers.int8`), which a network with experts or latents
      refuses; None where there is nothing to gain
    axes: what each dimension of each parameter is, a tree of `parameters.Axes` like params

    `source` is for networks with an encoder: source_BS=, and source_mask_BS=, true at real tokens (default:
    all are). `takes_prompts`: `hidden` takes prompt_lengths_B instead (`one_row.in_one_row`).
    """

    config: ModelConfig
    init: Callable
    hidden: Callable
    logits: Callable
    prefill: Callable
    decode: Callable
    axes: Any = field(default=None, compare=False)
    has_encoder: bool = False
    takes_prompts: bool = False
    pack: Callable | None = None

    def apply(self, params: Any, tokens_BT: jax.Array, **source: jax.Array) -> jax.Array:
        """Logits [B,T,V], float32."""
        return self.apply_with_aux(params, tokens_BT, **source)[0]

    def apply_with_aux(self, params: Any, tokens_BT: jax.Array, **source: jax.Array) -> tuple[jax.Array, Aux]:
        """Logits [B,T,V], float32, and the auxiliary scalars of `hidden`."""
        x_BTD, aux = self.hidden(params, tokens_BT, **source)
        return self.logits(params, x_BTD), aux


def refuse_segments(family: str, segments_BT: jax.Array | None) -> None:
    """Refuses rows that hold several texts, in a family whose rows have a source each."""
    if segments_BT is not None:
        raise ValueError(
            f"model: segments_BT given to family={family!r}; a network with an encoder reads one source "
            "and one text a row: leave it out, and pad each text"
        )


def last_token(x_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """What stands at each row's last real token: [B,T,…] -> [B,…]."""
    return x_BT[jnp.arange(len(x_BT)), lengths_B - 1]
