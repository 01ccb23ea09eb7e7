"""What every family provides: pure functions of a plain parameter tree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """A network as functions. Parameters are a nested dict of float32 arrays, blocks stacked along axis 0.

    init(key) -> params
    apply(params, tokens_BT) -> logits_BTV, float32; logits at t depend on tokens 0…t only
    prefill(params, tokens_BT, lengths_B, max_len) -> (logits_BV, cache): rows are padded on the right,
      logits are those at each row's last real token, the cache has room for `max_len` tokens
    decode(params, token_B, cache) -> (logits_BV, cache): one more token a row
    """

    config: Any
    init: Callable
    apply: Callable
    prefill: Callable
    decode: Callable
