"""How logits become the distribution that is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

# Allowed values of each field: at least, at most, and what is neutral.
LIMITS = {
    "temperature": (0, inf, "0 is greedy, 1 is the model as it is"),
    "top_k": (0, inf, "0 keeps every token"),
    "top_p": (0, 1, "1 keeps every token"),
    "min_p": (0, 1, "0 keeps every token"),
    "typical_p": (0, 1, "1 keeps every token"),
    "epsilon_cutoff": (0, 1, "0 keeps every token"),
    "eta_cutoff": (0, 1, "0 keeps every token"),
    "repetition_penalty": (0, inf, "1 is off"),
    "presence_penalty": (-inf, inf, "0 is off"),
    "frequency_penalty": (-inf, inf, "0 is off"),
    "no_repeat_ngram_size": (0, inf, "0 is off"),
    "min_new_tokens": (0, inf, "0 is off"),
    "min_tokens_to_keep": (1, inf, "1 is off"),
}
POSITIVE = ("top_p", "typical_p", "repetition_penalty")
COUNTS = ("top_k", "no_repeat_ngram_size", "min_new_tokens", "min_tokens_to_keep")
SHARED = COUNTS[1:]  # numbers that rows side by side must have in common


@dataclass(frozen=True)
class SamplingSettings:
    """The defaults sample from the model as it is. What each field does and in which order: `processors`.

    `logit_bias` holds pairs (token, number added to its logit; -inf bans it).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    min_new_tokens: int = 0
    min_tokens_to_keep: int = 1

    def __post_init__(self):
        for name, (low, high, note) in LIMITS.items():
            value, positive = getattr(self, name), name in POSITIVE
            if not (low <= value <= high and abs(value) < inf) or (positive and value == 0):
                least = f"above {low}" if positive else f"at least {low}" if low > -inf else "finite"
                most = f" and at most {high}" if high < inf else ""
                raise ValueError(f"{name}={value}; it must be {least}{most}, and {note}")
            if name in COUNTS and value != int(value):
                raise ValueError(f"{name}={value}; it must be a whole number, and {note}")
        for token, bias in self.logit_bias:
            if not bias < inf:
                raise ValueError(
                    f"logit_bias={bias} of token {token}; it must be a number or -inf, which bans"
                )

    def arrays(self, vocab_size: int) -> dict[str, Any]:
        """What `processors.process` takes, with fixed types and shapes: new values never recompile.

        Raises:
          ValueError: `logit_bias` names a token outside the vocabulary, or bans all of it.
        """
        bias_V = np.zeros(vocab_size, np.float32)
        for token, bias in self.logit_bias:
            if not 0 <= token < vocab_size:
                raise ValueError(f"logit_bias of token {token}; the vocabulary is 0 to {vocab_size - 1}")
            bias_V[token] += bias
        if np.isneginf(bias_V).all():
            raise ValueError(f"logit_bias bans all {vocab_size} tokens; leave at least one")
        counts = {name: np.int32(min(getattr(self, name), np.iinfo(np.int32).max)) for name in COUNTS}
        return {name: np.float32(getattr(self, name)) for name in LIMITS} | counts | {"logit_bias": bias_V}


def per_row(settings: Sequence[SamplingSettings], vocab_size: int) -> dict[str, Any]:
    """What `processors.process` takes where rows have settings of their own: columns [B,1], biases [B,V].

    Raises:
      ValueError: rows differ in one of SHARED, or a `logit_bias` names a token outside the vocabulary.
    """
    for name in SHARED:
        if len(values := {getattr(one, name) for one in settings}) > 1:
            raise ValueError(f"{name} is {min(values)} and {max(values)} in one batch; rows share it")
    rows = [one.arrays(vocab_size) for one in settings]
    shared = {name: rows[0][name] for name in SHARED}
    return {name: np.stack([np.atleast_1d(row[name]) for row in rows]) for name in rows[0]} | shared
