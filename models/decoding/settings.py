"""How logits become the distribution that is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

LARGEST = 1e30  # so that a penalty times a count, and a logit over the least of these, stay float32
# Allowed values of each field: at least, at most, and what is neutral.
LIMITS = {
    "temperature": (0, LARGEST, "0 is greedy, 1 is the model as it is"),
    "top_k": (0, inf, "0 keeps every token"),
    "top_p": (0, 1, "1 keeps every token"),
    "min_p": (0, 1, "0 keeps every token"),
    "typical_p": (0, 1, "1 keeps every token"),
    "epsilon_cutoff": (0, 1, "0 keeps every token"),
    "eta_cutoff": (0, 1, "0 keeps every token"),
    "repetition_penalty": (1 / LARGEST, LARGEST, "1 is off"),
    "presence_penalty": (-LARGEST, LARGEST, "0 is off"),
    "frequency_penalty": (-LARGEST, LARGEST, "0 is off"),
    "no_repeat_ngram_size": (0, inf, "0 is off"),
    "min_new_tokens": (0, inf, "0 is off"),
    "min_tokens_to_keep": (1, inf, "1 is off"),
}
POSITIVE = ("top_p", "typical_p")
COUNTS = ("top_k", "no_repeat_ngram_size", "min_new_tokens", "min_tokens_to_keep")
BIAS = f"a number from {-LARGEST:g} to {LARGEST:g}, or -inf, which bans"
SHARED = COUNTS[1:]  # numbers that rows side by side must have in common


@dataclass(frozen=True)
class SamplingSettings:
    """The defaults sample from the model as it is. What each field does and in which order: `processors`.

    `logit_bias` holds pairs (token, number added to its logit; -inf bans it), `sequence_bias` pairs (tokens,
    number added to the logit of the last where the text ends with the others; -inf bans the sequence).
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
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = ()

    def __post_init__(self):
        for name, (low, high, note) in LIMITS.items():
            value, positive = getattr(self, name), name in POSITIVE
            if not (low <= value <= high and abs(value) < inf) or (positive and value == 0):
                most = f" and at most {high:g}" if high < inf else ""
                least = f"{'above' if positive else 'at least'} {low:g}"
                raise ValueError(f"{name}={value}; it must be {least}{most}, and {note}")
            if name in COUNTS and value != int(value):
                raise ValueError(f"{name}={value}; it must be a whole number, and {note}")
        for token, bias in self.logit_bias:
            if not _is_bias(bias):
                raise ValueError(f"logit_bias={bias} of token {token}; it must be {BIAS}")
        for tokens, bias in self.sequence_bias:
            if not _is_bias(bias) or not tokens:
                raise ValueError(
                    f"sequence_bias={bias} of tokens {tokens}; give one token at least, and {BIAS}"
                )

    @property
    def room(self) -> tuple[int, int]:
        """How many sequences, and tokens of one, the arrays of `sequence_bias` have room for."""
        lengths = [len(tokens) for tokens, _ in self.sequence_bias]
        return (_power_of_two(len(lengths)), _power_of_two(max(lengths))) if lengths else (0, 1)

    def arrays(self, vocab_size: int, room: tuple[int, int] | None = None) -> dict[str, Any]:
        """What `processors.process` takes, with fixed types and shapes: new values never recompile, but for
        more sequences, or longer ones, than there is `room` for (None: the settings' own).

        Raises:
          ValueError: a bias is of a token outside the vocabulary, or `logit_bias` bans all of it.
        """
        bias_V = np.zeros(vocab_size, np.float32)
        for token, bias in self.logit_bias:
            if not 0 <= token < vocab_size:
                raise ValueError(f"logit_bias of token {token}; the vocabulary is 0 to {vocab_size - 1}")
            bias_V[token] += bias
        if np.isneginf(bias_V).all():
            raise ValueError(f"logit_bias bans all {vocab_size} tokens; leave at least one")
        n_sequences, n_tokens = room or self.room
        sequences_NS = np.full((n_sequences, n_tokens), -1, np.int32)
        bias_N = np.zeros(n_sequences, np.float32)
        for i, (tokens, bias) in enumerate(self.sequence_bias):
            if not 0 <= min(tokens) <= max(tokens) < vocab_size:
                raise ValueError(f"sequence_bias of {tokens}; the vocabulary is 0 to {vocab_size - 1}")
            sequences_NS[i, n_tokens - len(tokens) :], bias_N[i] = tokens, bias
        counts = {name: np.int32(min(getattr(self, name), np.iinfo(np.int32).max)) for name in COUNTS}
        biases = {"logit_bias": bias_V, "sequences": sequences_NS, "sequence_bias": bias_N}
        return {name: np.float32(getattr(self, name)) for name in LIMITS} | counts | biases


def _is_bias(value: float) -> bool:
    return value == -inf or abs(value) <= LARGEST


def _power_of_two(n: int) -> int:
    """The least that is not below n, so that few shapes are compiled."""
    return 1 << (n - 1).bit_length()


def per_row(settings: Sequence[SamplingSettings], vocab_size: int) -> dict[str, Any]:
    """What `processors.process` takes where rows have settings of their own: columns [B,1], biases [B,V],
    sequences [B,N,S].

    Raises:
      ValueError: rows differ in one of SHARED, or a bias is of a token outside the vocabulary.
    """
    for name in SHARED:
        if len(values := {getattr(one, name) for one in settings}) > 1:
            raise ValueError(f"{name} is {min(values)} and {max(values)} in one batch; rows share it")
    n_sequences, n_tokens = (max(sizes) for sizes in zip(*(one.room for one in settings)))
    rows = [one.arrays(vocab_size, (n_sequences, n_tokens)) for one in settings]
    shared = {name: rows[0][name] for name in SHARED}
    return {name: np.stack([np.atleast_1d(row[name]) for row in rows]) for name in rows[0]} | shared
