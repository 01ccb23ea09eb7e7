"""Sampling: one compiled prefill, one compiled decode loop, many rows of any length.

Lengths and row counts are rounded up to powers of two, so that few shapes are ever compiled. What a row says
depends on its prompt, its seed and the settings alone, not on the rows beside it, the padding around it, or
when it is its turn. (So far as the hardware adds up a row's numbers alike in batches of any size: where two
tokens are tied to the last bits, another size may tip the balance.)
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax

from models.decoding.continuous_batching import Continuation, ContinuousBatch, Limits, shape_for
from models.decoding.prefill import bucket, packed
from models.decoding.settings import SamplingSettings
from models.decoding.stop import DecodedText, Finish, StopCriteria
from models.model import Model

NO_STOP = StopCriteria()
MAX_TOKENS = 2**20  # of a continuation, for all of which its row has room from the start
LEAST_ROWS = 8  # of a batch beside another
LEAST_ROWS_OF_EXPERTS = 32  # the same, where each of two batches reads nearly all experts


@dataclass(frozen=True)
class Sample:
    """One continuation.

    tokens: with the EOS or stop that ended it. logprobs: in nats, the model's own, before any processor.
    finish: "eos"; "stop", and `stop` says which; "length" if `max_tokens` came first; "time".
    sampling_logprobs: in nats, of the distribution that the tokens were drawn from.
    top: at each token, on request, the model's likeliest as (token, its logprob, its sampling_logprob).
    text: if the tokens' bytes were given; without the stop, and without bytes that are no UTF-8.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    stop: int | str | None = None
    sampling_logprobs: tuple[float, ...] = ()
    top: tuple[tuple[tuple[int, float, float], ...], ...] = ()
    text: str | None = None


def sample(
    model: Model,
    params: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    settings: SamplingSettings,
    *,
    n: int = 1,
    max_tokens: int,
    eos_id: int,
    context: int | None = None,
    stop: StopCriteria = NO_STOP,
    token_bytes: Sequence[bytes] | None = None,
    top_logprobs: int = 0,
    width: int = 64,
    every: int | None = None,
    watch: Callable[[int, int, str], None] | None = None,
    share_prefix: bool = False,
) -> list[list[Sample]]:
    """`n` continuations of each prompt, in the order of the prompts; a prompt is prefilled once for all n.

    Continuation j of a prompt is a function of (prompt, its seed, j, settings), whatever else is asked for.
    With `context`, the model never sees more tokens than that, as in training: a text that has filled it goes
    on from its last context // 2 tokens.

    Args:
      params: the network's.
      prompts, seeds: token ids, and a number from 0 to 2^32 - 1 for each prompt.
      settings: how logits become the distribution that is sampled.
      n: continuations of each prompt.
      max_tokens: most tokens of a continuation, EOS included.
      eos_id: the token that ends a text.
      context: most tokens that the model sees; None for no limit.
      stop: what ends a text besides.
      token_bytes: what each token says, needed for stop strings and to `watch`.
      top_logprobs: how many of the likeliest tokens to report at each position.
      width: most rows at a time; a row that ends makes place for one that waits.
      every: steps between checks of the texts, at most 64; by default 16 where stop strings or `watch`
        need them, else 64.
      watch: called with (prompt, j, text) as text becomes certain; a row's pieces make up its text.
      share_prefix: read the tokens that all prompts begin with once, where that is most of them; numbers then
        depend, in their last bits, on which prompts there are (`prefill`).

    Raises:
      ValueError: no prompt or an empty one, a token outside the vocabulary, seeds that do not pair with
        prompts or are not 32-bit numbers, `n`, `max_tokens`, `width` or `every` below 1, `max_tokens` above
        MAX_TOKENS, `context` below 2, `top_logprobs` that the vocabulary does not have, stop strings without
        `token_bytes`.
    """
    counts = {"n": n, "max_tokens": max_tokens, "width": width, "every": 1 if every is None else every}
    _check_prompts(prompts, seeds, model.config.vocab_size)
    _check_counts(counts, model.config.vocab_size, context, top_logprobs)
    if token_bytes is None and (stop.strings or watch):
        raise ValueError("stop strings, and watching, need `token_bytes`: what each token says")

    def text() -> DecodedText | None:
        return None if token_bytes is None else DecodedText(token_bytes, stop.strings)

    rows = [
        Continuation(prompt, i, seed, j, text())
        for i, (prompt, seed) in enumerate(zip(prompts, seeds))
        for j in range(n)
    ]
    report = None if watch is None else lambda row, text: watch(row.source, row.sample, text)
    limits = Limits(max_tokens, eos_id, context, stop)
    parts = 1 if watch else _side_by_side(model, min(len(rows), width))
    each = -(-len(rows) // parts)
    shape = shape_for(rows, limits, width)
    shape = replace(shape, rows=min(bucket(each, least=1), width // parts))
    params = packed(model, params)
    _run([
        ContinuousBatch(
            *(model, params, rows[first : first + each], settings, limits),
            shape=shape, n_top=top_logprobs, every=every, watch=report, share_prefix=share_prefix,
        )
        for first in range(0, len(rows), each)
    ])  # fmt: skip
    samples = [_sample(row, top_logprobs) for row in rows]
    return [samples[i : i + n] for i in range(0, len(samples), n)]


def _side_by_side(model: Model, n_rows: int) -> int:
    """Into how many batches to divide so many rows at a time: on a CPU with two cores into two.

    XLA does attention to the cache and much besides on one core, and the other waits. Few rows take longer in
    two batches, each of which reads all weights.
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    least = LEAST_ROWS_OF_EXPERTS if getattr(model.config, "experts", None) else LEAST_ROWS
    return 2 if jax.default_backend() == "cpu" and min(n_cores, n_rows // least) >= 2 else 1


def _run(batches: list[ContinuousBatch]) -> None:
    """Until every row of every batch has ended; several take their steps at the same time, in threads."""
    if len(batches) == 1:
        return batches[0].run()
    with ThreadPoolExecutor(len(batches)) as threads:
        while any([*threads.map(ContinuousBatch.step, batches)]):
            pass


def _sample(row: Continuation, n_top: int) -> Sample:
    """What the row has said."""
    assert row.finish is not None
    drawn, top = row.drawn, ()
    if n_top and row.tokens:
        each = zip(drawn["top_tokens"], drawn["top_logprobs"], drawn["top_sampling_logprobs"])
        top = tuple(tuple(zip(*three)) for three in each)
    return Sample(
        tuple(row.tokens),
        tuple(drawn.get("logprobs", ())),
        row.finish,
        row.stop,
        tuple(drawn.get("sampling_logprobs", ())),
        top,
        None if row.text is None else str(row.text),
    )


def _check_counts(counts: dict[str, int], vocab_size: int, context: int | None, n_top: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    if counts["max_tokens"] > MAX_TOKENS:  # rows have room for that many
        raise ValueError(f"max_tokens={counts['max_tokens']}; it must be at most {MAX_TOKENS:,}")
    if context is not None and context < 2:
        raise ValueError(f"context={context}; it must be at least 2")
    if not 0 <= n_top <= vocab_size:
        raise ValueError(f"top_logprobs={n_top}; it must be from 0 to the vocabulary's {vocab_size}")


def _check_prompts(prompts, seeds, vocab_size: int) -> None:
    if not prompts:
        raise ValueError("no prompts; give at least one")
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts; each prompt needs one")
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
