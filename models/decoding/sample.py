"""Sampling: one compiled prefill, one compiled decode loop, many rows of any length.

Lengths and row counts are rounded up to powers of two, so that few shapes are ever compiled. What a row says
depends on its prompt, its seed and the settings alone, not on the rows beside it or the padding around it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import history, processors
from models.decoding.settings import Settings
from models.model import Model


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
    context: int | None = None,
) -> list[list[Sample]]:
    """`n` continuations of each prompt, in the order of the prompts; every prompt is prefilled once.

    Continuation j of a prompt is a function of (prompt, its seed, j, settings), whatever else is asked for.
    With `context`, the model never sees more tokens than that, as in training: a text that has filled it goes
    on from its last context // 2 tokens.

    Raises:
      ValueError: no prompt or an empty one, a token outside the vocabulary, seeds that do not pair with
        prompts or are not 32-bit numbers, `n` or `max_tokens` below 1, `context` below 2.
    """
    _check(prompts, seeds, model.config.vocab_size, n, max_tokens, context)
    rows = [_Row(list(prompt), seed, j) for prompt, seed in zip(prompts, seeds) for j in range(n)]
    texts, source, waiting = prompts, np.repeat(np.arange(len(prompts)), n), rows
    while waiting:
        texts = [_in_view(text, context) for text in texts]
        _continue(model, params, texts, source, waiting, settings, max_tokens, eos_id, context)
        waiting = [row for row in waiting if not row.ended and len(row.logprobs) < max_tokens]
        texts, source = [row.history for row in waiting], np.arange(len(waiting))
    samples = [
        Sample(
            tuple(row.history[-len(row.logprobs) :]), tuple(row.logprobs), "eos" if row.ended else "length"
        )
        for row in rows
    ]
    return [samples[i : i + n] for i in range(0, len(samples), n)]


@dataclass
class _Row:
    """A continuation in the making."""

    history: list[int]  # the prompt and what was sampled
    seed: int
    sample: int
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False


def _in_view(text: Sequence[int], context: int | None) -> Sequence[int]:
    """The part of a text that the model goes on from."""
    return text if context is None or len(text) < context else text[-(context // 2) :]


def _continue(model, params, texts, source, rows, settings, max_tokens, eos_id, context) -> None:
    """Extends each row, whose text in view is texts[source], until it ends or its context is full."""
    longest, n_vocab = max(map(len, texts)), model.config.vocab_size
    tokens_PT = np.zeros((bucket(len(texts), least=1), bucket(longest)), np.int32)
    lengths_P = np.ones(len(tokens_PT), np.int32)
    for i, text in enumerate(texts):
        tokens_PT[i, : len(text)], lengths_P[i] = text, len(text)
    spare = bucket(len(rows), least=1) - len(rows)  # rows that are closed before they start
    source_B = np.pad(source, (0, spare))
    n_new = [len(row.logprobs) for row in rows]
    prompts = [row.history[: len(row.history) - n] for row, n in zip(rows, n_new)] + [[]] * spare
    sampled = [row.history[len(row.history) - n :] for row, n in zip(rows, n_new)] + [[]] * spare
    first_B = np.array([len(row.logprobs) for row in rows], np.int32)
    room_B = max_tokens - first_B
    if context is not None:
        room_B = np.minimum(room_B, context - lengths_P[source_B[: len(rows)]])
    state = {
        "seed": np.array([row.seed for row in rows], np.uint32),
        "sample": np.array([row.sample for row in rows], np.uint32),
        "first": first_B,
        "room": room_B,
    }
    state = {name: np.pad(values, (0, spare)) for name, values in state.items()}
    most = int(room_B.max())
    n_slots = bucket(max(len(row.history) for row in rows) + most)
    state["history"] = history.begin(prompts, sampled, n_vocab, n_slots)
    start = _prefill(model, params, tokens_PT, lengths_P, source_B, bucket(longest + most))
    out = _decode(model, params, start, state, settings.arrays(n_vocab), np.int32(eos_id), bucket(most))
    out = jax.device_get(out)
    for b, row in enumerate(rows):
        row.history += out["tokens"][b, : out["lengths"][b]].tolist()
        row.logprobs += out["logprobs"][b, : out["lengths"][b]].tolist()
        row.ended = bool(out["ended"][b])


def bucket(size: int, least: int = 16) -> int:
    """`size` rounded up to a power of two, at least `least`."""
    return max(least, 1 << (size - 1).bit_length())


@functools.partial(jax.jit, static_argnums=(0, 5))
def _prefill(model: Model, params, tokens_PT, lengths_P, source_B, max_len: int):
    """Next-token logits [B,V] and cache of every row, from one pass over the texts it shares with others."""
    if model.has_encoder:
        # As in training: the text is the source, and its last token starts the decoder.
        last_P1 = jnp.take_along_axis(tokens_PT, lengths_P[:, None] - 1, axis=1)
        is_source_PT = jnp.arange(tokens_PT.shape[1]) < jnp.maximum(lengths_P - 1, 1)[:, None]
        source = {"source_BS": tokens_PT, "source_mask_BS": is_source_PT}
        logits_PV, cache = model.prefill(params, last_P1, jnp.ones_like(lengths_P), max_len, **source)
    else:
        logits_PV, cache = model.prefill(params, tokens_PT, lengths_P, max_len)
    # Cache leaves are [L,P,…], or [P] as the lengths are.
    cache = jax.tree.map(lambda leaf: jnp.take(leaf, source_B, axis=min(1, leaf.ndim - 1)), cache)
    return logits_PV[source_B], cache


@functools.partial(jax.jit, static_argnums=(0, 6))
def _decode(model: Model, params, start, rows, settings, eos_id, n_out: int):
    """Samples until every row is closed: tokens [B,N], logprobs [B,N], lengths [B] and ended (by EOS) [B]."""
    logits_BV, cache = start
    rows_B = jnp.arange(len(logits_BV))
    keys_B = jax.vmap(lambda seed, j: jax.random.fold_in(jax.random.key(seed), j))(
        rows["seed"], rows["sample"]
    )

    def choose(step, logits_BV, state):
        """Draws a token for every row from its logits and records it."""
        processed_BV = processors.process(logits_BV, state["history"], settings, eos_id)
        token_B = draw(keys_B, rows["first"] + step, processed_BV)
        logprob_B = jax.nn.log_softmax(logits_BV)[rows_B, token_B]
        ended_B = ~state["closed"] & (token_B == eos_id)
        return {
            "tokens": state["tokens"].at[:, step].set(token_B),
            "logprobs": state["logprobs"].at[:, step].set(logprob_B),
            "lengths": state["lengths"] + ~state["closed"],
            "history": history.extend(state["history"], token_B),
            "ended": state["ended"] | ended_B,
            "closed": state["closed"] | ended_B | (step + 1 >= rows["room"]),
        }

    def body(carry):
        step, cache, state = carry
        logits_BV, cache = model.decode(params, state["tokens"][:, step - 1], cache)
        return step + 1, cache, choose(step, logits_BV, state)

    empty = {
        "tokens": jnp.zeros((len(rows_B), n_out), jnp.int32),
        "logprobs": jnp.zeros((len(rows_B), n_out), jnp.float32),
        "lengths": jnp.zeros(len(rows_B), jnp.int32),
        "history": rows["history"],
        "ended": jnp.zeros(len(rows_B), bool),
        "closed": rows["room"] == 0,
    }
    carry = (jnp.int32(1), cache, choose(0, logits_BV, empty))
    _, _, state = jax.lax.while_loop(lambda carry: ~jnp.all(carry[2]["closed"]), body, carry)
    return {name: state[name] for name in ("tokens", "logprobs", "lengths", "ended")}


def draw(keys_B: jax.Array, steps_B: jax.Array, logits_BV: jax.Array) -> jax.Array:
    """One token a row from softmax(logits); row b's randomness is (keys[b], steps[b]) and nothing else."""
    keys_B = jax.vmap(jax.random.fold_in)(keys_B, steps_B)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV)


def _check(prompts, seeds, vocab_size: int, n: int, max_tokens: int, context: int | None) -> None:
    if not prompts:
        raise ValueError("no prompts; give at least one")
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts; each prompt needs one")
    for name, value in (("n", n), ("max_tokens", max_tokens)):
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    if context is not None and context < 2:
        raise ValueError(f"context={context}; it must be at least 2")
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
