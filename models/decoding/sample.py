"""Sampling: one compiled prefill, one compiled decode loop, many rows of any length.

Lengths and row counts are rounded up to powers of two, so that few shapes are ever compiled. What a row says
depends on its prompt, its seed and the settings alone, not on the rows beside it or the padding around it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import processors
from models.model import Model


@dataclass(frozen=True)
class Settings:
    """How logits become a distribution; the defaults sample from the model as it is. See `processors`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}; it must be at least 0, and 0 is greedy")
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k}; it must be at least 0, and 0 keeps every token")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}; it must be above 0 and at most 1, and 1 keeps every token")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p={self.min_p}; it must be from 0 to 1, and 0 keeps every token")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(
                f"repetition_penalty={self.repetition_penalty}; it must be positive, and 1 is off"
            )

    def arrays(self) -> dict[str, Any]:
        """The scalars that `processors.process` takes, with fixed types: new values never recompile."""
        values = {name: np.float32(value) for name, value in dataclasses.asdict(self).items()}
        return values | {"top_k": np.int32(min(self.top_k, np.iinfo(np.int32).max))}


@dataclass(frozen=True)
class Sample:
    """One continuation. `tokens` includes the EOS that ended it; `logprobs` (nats) are the model's own,
    before any processor; `finish` is "eos", or "length" if `max_tokens` came first."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["eos", "length"]


def sample(
    model: Model,
    params: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    settings: Settings,
    *,
    n: int = 1,
    max_tokens: int,
    eos_id: int,
) -> list[list[Sample]]:
    """`n` continuations of each prompt, in the order of the prompts; every prompt is prefilled once.

    Continuation j of a prompt is a function of (prompt, its seed, j, settings), whatever else is asked for.

    Raises:
      ValueError: no prompt or an empty one, a token outside the vocabulary, seeds that do not pair with
        prompts or are not 32-bit numbers, `n` or `max_tokens` below 1.
    """
    _check(prompts, seeds, model.config.vocab_size, n, max_tokens)
    longest, n_rows = max(map(len, prompts)), n * len(prompts)
    tokens_PT = np.zeros((bucket(len(prompts), least=1), bucket(longest)), np.int32)
    lengths_P = np.ones(len(tokens_PT), np.int32)
    for i, prompt in enumerate(prompts):
        tokens_PT[i, : len(prompt)], lengths_P[i] = prompt, len(prompt)
    # Rows past those asked for are closed before they start.
    row = np.arange(bucket(n_rows, least=1), dtype=np.uint32)
    prompt = np.minimum(row // n, len(prompts) - 1)
    rows = {
        "prompt": prompt,
        "seed": np.asarray(seeds, np.uint32)[prompt],
        "sample": row % n,
        "closed": row >= n_rows,
    }
    limits = {"max_tokens": np.int32(max_tokens), "eos_id": np.int32(eos_id)}
    start = _prefill(model, params, tokens_PT, lengths_P, bucket(longest + max_tokens))
    out = _decode(model, params, start, rows, settings.arrays(), limits, bucket(max_tokens))
    out = jax.device_get(out)
    samples = [
        Sample(
            tuple(out["tokens"][row, :length].tolist()),
            tuple(out["logprobs"][row, :length].tolist()),
            "eos" if out["ended"][row] else "length",
        )
        for row, length in enumerate(out["lengths"][:n_rows])
    ]
    return [samples[i : i + n] for i in range(0, n_rows, n)]


def bucket(size: int, least: int = 16) -> int:
    """`size` rounded up to a power of two, at least `least`."""
    return max(least, 1 << (size - 1).bit_length())


@functools.partial(jax.jit, static_argnums=(0, 4))
def _prefill(model: Model, params, tokens_PT, lengths_P, max_len: int):
    """Next-token logits [P,V], cache, and which tokens each prompt holds [P,V]."""
    logits_PV, cache = model.prefill(params, tokens_PT, lengths_P, max_len)
    real_PT = jnp.arange(tokens_PT.shape[1])[None] < lengths_P[:, None]
    rows_P1 = jnp.arange(len(tokens_PT))[:, None]
    return logits_PV, cache, jnp.zeros(logits_PV.shape, bool).at[rows_P1, tokens_PT].max(real_PT)


@functools.partial(jax.jit, static_argnums=(0, 6))
def _decode(model: Model, params, start, rows, settings, limits, n_out: int):
    """Samples until every row is closed: tokens [B,N], logprobs [B,N], lengths [B] and ended (by EOS) [B]."""
    # Cache leaves are [L,P,…], lengths are [P]: each row starts from a copy of its prompt's.
    logits_PV, cache, seen_PV = start
    cache = jax.tree.map(lambda leaf: jnp.take(leaf, rows["prompt"], axis=min(1, leaf.ndim - 1)), cache)
    rows_B = jnp.arange(len(rows["prompt"]))
    keys_B = jax.vmap(lambda seed, j: jax.random.fold_in(jax.random.key(seed), j))(
        rows["seed"], rows["sample"]
    )

    def choose(step, logits_BV, state):
        """Draws a token for every row from its logits and records it."""
        processed_BV = processors.process(logits_BV, state["seen"], settings)
        token_B = draw(keys_B, step, processed_BV)
        logprob_B = jax.nn.log_softmax(logits_BV)[rows_B, token_B]
        ended_B = ~state["closed"] & (token_B == limits["eos_id"])
        return {
            "tokens": state["tokens"].at[:, step].set(token_B),
            "logprobs": state["logprobs"].at[:, step].set(logprob_B),
            "lengths": state["lengths"] + ~state["closed"],
            "seen": state["seen"].at[rows_B, token_B].set(True),
            "ended": state["ended"] | ended_B,
            "closed": state["closed"] | ended_B | (step + 1 >= limits["max_tokens"]),
        }

    def body(carry):
        step, cache, state = carry
        logits_BV, cache = model.decode(params, state["tokens"][:, step - 1], cache)
        return step + 1, cache, choose(step, logits_BV, state)

    empty = {
        "tokens": jnp.zeros((len(rows_B), n_out), jnp.int32),
        "logprobs": jnp.zeros((len(rows_B), n_out), jnp.float32),
        "lengths": jnp.zeros(len(rows_B), jnp.int32),
        "seen": seen_PV[rows["prompt"]],
        "ended": jnp.zeros(len(rows_B), bool),
        "closed": rows["closed"],
    }
    carry = (jnp.int32(1), cache, choose(0, logits_PV[rows["prompt"]], empty))
    _, _, state = jax.lax.while_loop(lambda carry: ~jnp.all(carry[2]["closed"]), body, carry)
    return {name: state[name] for name in ("tokens", "logprobs", "lengths", "ended")}


def draw(keys_B: jax.Array, step: jax.Array | int, logits_BV: jax.Array) -> jax.Array:
    """One token a row from softmax(logits); row b's randomness is (keys[b], step) and nothing else."""
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV)


def _check(prompts, seeds, vocab_size: int, n: int, max_tokens: int) -> None:
    if not prompts:
        raise ValueError("no prompts; give at least one")
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts; each prompt needs one")
    for name, value in (("n", n), ("max_tokens", max_tokens)):
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    for i, (prompt, seed) in enumerate(zip(prompts, seeds)):
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed={seed}; it must be from 0 to 2^32 - 1")
        if not len(prompt):
            raise ValueError(f"prompt {i} is empty; start it with the end-of-document token")
        if not 0 <= min(prompt) <= max(prompt) < vocab_size:
            low, high = min(prompt), max(prompt)
            raise ValueError(
                f"prompt {i} has tokens {low} to {high}; the vocabulary is 0 to {vocab_size - 1}"
            )
