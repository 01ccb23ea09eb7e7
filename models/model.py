"""What every family provides: a checked configuration, and pure functions of a plain parameter tree.

Shape letters at the ends of names, in all of models/: B batch, T time, D model width, F feed-forward width,
H query heads, G key/value heads, K head size, V vocabulary, L layers, S cache slots or source tokens,
E experts, C capacity or tokens of a chunk. A number stands for itself: x_B1D has one token a row.
"""

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import jax
import jax.numpy as jnp

Aux = dict[str, jax.Array]
Dtype = Literal["float32", "bfloat16"]
MAX_SIZE, MAX_LAYERS = 2**24, 10_000  # of a configuration: far beyond any network


class ModelConfig(Protocol):
    """What the configurations of all families have: frozen dataclasses with checks.

    Parameters are always float32; `dtype` is the compute type. `remat` recomputes each block in the backward
    pass: less memory, about a third more time, the same numbers.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def vocab_size(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def dtype(self) -> Dtype: ...
    @property
    def remat(self) -> bool: ...
    @property
    def family(self) -> str: ...


def check_sizes(where: str, config: Any, *names: str) -> None:
    """Refuses a configuration of which one of these fields is smaller than 1, or larger than any network has:
    what loops over it, or allocates, would take the machine down before it fails."""
    for name in names:
        most = MAX_LAYERS if "layers" in name else MAX_SIZE
        if getattr(config, name) < 1:
            raise ValueError(f"{where}: {name}={getattr(config, name)}; it must be at least 1")
        if getattr(config, name) > most:
            raise ValueError(f"{where}: {name}={getattr(config, name)}; it must be at most {most:,}")


def check_positive(where: str, config: Any, *names: str) -> None:
    """Refuses a configuration of which one of these fields is not a positive, finite number."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{where}: {name}={getattr(config, name)}; it must be positive and finite")


def check_dtype(dtype: str) -> None:
    """Refuses a compute type that is not one of `Dtype`."""
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"model: dtype={dtype!r}; allowed are 'float32' and 'bfloat16'")


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
    pack(params) -> a copy of the weights that `decode` reads faster on a CPU, if it finds it at "packed" in
      params; None where there is nothing to gain
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
