"""What the rows of a batch have said so far, as penalties need it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class History(NamedTuple):
    """One entry a row in each array, so rows can be exchanged one by one.

    prompt_BV: bool, tokens of the prompt. counts_BV: int32, how often each token was sampled.
    text_BT: int32, prompt and sampled tokens, padded on the right; lengths_B of them, new_B of these sampled.
    """

    prompt_BV: Any
    counts_BV: Any
    text_BT: Any
    lengths_B: Any
    new_B: Any


def begin(
    prompts: Sequence[Sequence[int]], sampled: Sequence[Sequence[int]], vocab_size: int, n_slots: int
) -> History:
    """History [B,…] of rows: `prompts` followed by `sampled`; texts can grow to `n_slots` tokens.

    Args:
      prompts, sampled: token ids of each row.
      vocab_size: V of the arrays.
      n_slots: T of the arrays, the longest text.
    """
    n = len(prompts)
    history = History(
        np.zeros((n, vocab_size), bool),
        np.zeros((n, vocab_size), np.int32),
        np.zeros((n, n_slots), np.int32),
        np.array([len(a) + len(b) for a, b in zip(prompts, sampled)], np.int32),
        np.array([len(b) for b in sampled], np.int32),
    )
    for b, (prompt, new) in enumerate(zip(prompts, sampled)):
        history.prompt_BV[b, list(prompt)] = True
        np.add.at(history.counts_BV[b], list(new), 1)
        history.text_BT[b, : len(prompt) + len(new)] = [*prompt, *new]
    return history


def extend(history: History, token_B: jax.Array) -> History:
    """The history after one more sampled token in each row; what finds no slot is only counted."""
    rows = jnp.arange(len(token_B))
    return history._replace(
        counts_BV=history.counts_BV.at[rows, token_B].add(1),
        text_BT=history.text_BT.at[rows, history.lengths_B].set(token_B, mode="drop"),
        lengths_B=history.lengths_B + 1,
        new_B=history.new_B + 1,
    )
