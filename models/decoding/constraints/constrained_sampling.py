"""Sampling under constraints, with the exact probability of what the constraints did.

While the device computes the logits after a token, the host computes which tokens may follow it: both need
that token and neither needs the other. A constraint's mask comes first and the processors after it, so that
top-k and its kin choose among allowed tokens; where they would leave none, they are passed over.

Constrained sampling is biased: it draws tokens from p(token | text, allowed), not texts from p(text | valid).
Each sample therefore carries its log-probability under the model and under the sampler. Their difference is
its log importance weight; without processors this is the log of the product of the mass that was allowed at
each step. `importance_weights` of samples of one prompt make averages over them estimate the model's own
averages over valid texts (self-normalised importance sampling; Lew et al. 2023). Not so with top-k, top-p,
min-p and their kin: what they cut is never drawn, and no weight brings it back.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import history, processors
from models.decoding.constraints.masks import Constraint, Progress, masks_for
from models.decoding.prefill import bucket, packed, prefill, take_rows
from models.decoding.sampling_loop import draw
from models.decoding.settings import SamplingSettings
from models.model import Model


@dataclass(frozen=True)
class ConstrainedSample:
    """One continuation. All log-probabilities are in nats, one for each of `tokens`, EOS included.

    logprobs: the model's own. sampling_logprobs: of the distribution that was drawn from.
    allowed_logmass: how much of the model's probability the constraint allowed.
    log_weight: log p_model(tokens) - log p_sampler(tokens).
    finish: "eos", or "length" if `max_tokens` came first. complete: whether `text` is valid as it is.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampling_logprobs: tuple[float, ...]
    allowed_logmass: tuple[float, ...]
    finish: Literal["eos", "length"]
    complete: bool
    log_weight: float


def importance_weights(samples: Sequence[ConstrainedSample]) -> np.ndarray:
    """Weights of samples of one prompt, which sum to 1; those that did not end by EOS weigh 0.

    1 / sum(weights²) is the number of unweighted samples that they are worth.

    Raises:
      ValueError: no sample ended.
    """
    logs = np.array([one.log_weight if one.finish == "eos" else -np.inf for one in samples])
    if not np.isfinite(logs).any():
        raise ValueError("no sample ended within max_tokens; there is nothing to weigh")
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def sample_constrained(
    model: Model,
    params: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    settings: SamplingSettings,
    constraints: Sequence[Constraint],
    *,
    n: int = 1,
    max_tokens: int,
    context: int | None = None,
    width: int = 64,
) -> list[list[ConstrainedSample]]:
    """`n` continuations of each prompt, each of which the prompt's constraint allows.

    Continuation j of a prompt is a function of (prompt, its constraint, its seed, j, settings). `context` is
    as in `sample`; at most `width` rows are computed at a time.

    Args:
      params: the network's.
      prompts, seeds, constraints: token ids, a 32-bit number and a constraint for each prompt.
      settings: how logits become the distribution that is sampled.
      n: continuations of each prompt.
      max_tokens: most tokens of a continuation, EOS included.
      context: most tokens that the model sees; None for no limit.
      width: most rows at a time.

    Raises:
      ValueError: no prompt or an empty one, seeds or constraints that do not pair with prompts, `n`,
        `max_tokens` or `width` below 1, or vocabularies that differ or are not the model's.
    """
    _check(model, prompts, seeds, constraints, {"n": n, "max_tokens": max_tokens, "width": width})
    rows = [
        _Row(list(prompt), seed, j, constraint.start(), view=list(prompt))
        for prompt, seed, constraint in zip(prompts, seeds, constraints)
        for j in range(n)
    ]
    vocabulary, params = constraints[0].vocabulary, packed(model, params)
    for first in range(0, len(rows), width):
        open_rows = rows[first : first + width]
        while open_rows:
            _round(model, params, open_rows, settings, max_tokens, vocabulary.eos_id, context)
            open_rows = [row for row in open_rows if not row.ended and len(row.tokens) < max_tokens]
    samples = [_sample(row, vocabulary) for row in rows]
    return [samples[i : i + n] for i in range(0, len(samples), n)]


@dataclass
class _Row:
    """A continuation in the making; `view` is the text that the model goes on from."""

    prompt: list[int]
    seed: int
    sample: int
    progress: Progress
    view: list[int]
    tokens: list[int] = field(default_factory=list)
    drawn: list[np.ndarray] = field(default_factory=list)
    ended: bool = False


def _sample(row: _Row, vocabulary) -> ConstrainedSample:
    logprobs, sampling, allowed = (tuple(map(float, values)) for values in np.array(row.drawn).T)
    text = vocabulary.said(row.tokens).decode("utf-8", errors="ignore")
    finish = "eos" if row.ended else "length"
    complete = row.ended or row.progress.complete
    weight = sum(logprobs) - sum(sampling)
    return ConstrainedSample(text, tuple(row.tokens), logprobs, sampling, allowed, finish, complete, weight)


def _round(model, params, rows: list[_Row], settings, max_tokens: int, eos_id: int, context) -> None:
    """Extends each row until it ends or the model's view of it is full."""
    n_vocab = model.config.vocab_size
    for row in rows:
        if context is not None and len(row.view) >= context:
            row.view = row.view[-(context // 2) :]
    rooms = [max_tokens - len(row.tokens) for row in rows]
    if context is not None:
        rooms = [min(room, context - len(row.view)) for room, row in zip(rooms, rows)]
    texts = list(dict.fromkeys(tuple(row.view) for row in rows))
    n_rows = bucket(len(rows), least=1)
    logits_PV, cache = prefill(model, params, texts, max(rooms))
    source_B = np.pad([texts.index(tuple(row.view)) for row in rows], (0, n_rows - len(rows)))
    logits_BV, cache = logits_PV[source_B], take_rows(cache, source_B)
    blank = [_Row([], 0, 0, rows[0].progress, []) for _ in range(n_rows - len(rows))]
    n_slots = bucket(max(len(row.prompt) for row in rows) + max_tokens)
    said = history.begin(
        [row.prompt for row in rows + blank], [row.tokens for row in rows + blank], n_vocab, n_slots
    )
    who = {
        "seed": np.array([row.seed for row in rows + blank], np.uint32),
        "sample": np.array([row.sample for row in rows + blank], np.uint32),
    }
    arrays, eos, drawn = settings.arrays(n_vocab), np.int32(eos_id), []
    going = dict(enumerate(rows))
    masks = masks_for(n_rows, n_vocab)
    for b, row in going.items():
        row.progress.allowed(masks, b)
    while going:
        token_B, drawn_3B, said = _choose(logits_BV, masks, said, who, arrays, eos)
        logits_BV, cache = _decode(model, params, token_B, cache)  # runs while the masks are made
        drawn.append(drawn_3B)
        tokens = np.asarray(token_B)
        masks = masks_for(n_rows, n_vocab)  # a new one: the device may still read the last
        for b, row in list(going.items()):
            row.tokens.append(int(tokens[b]))
            rooms[b] -= 1
            row.ended = row.tokens[-1] == eos_id
            if not row.ended:
                row.progress.take(row.tokens[-1])
            if row.ended or not rooms[b]:
                del going[b]
            else:
                row.progress.allowed(masks, b)
    drawn_T3B = np.stack(jax.device_get(drawn))
    for b, row in enumerate(rows):
        new = len(row.tokens) - len(row.drawn)
        row.drawn += list(drawn_T3B[:new, :, b])
        row.view += row.tokens[len(row.tokens) - new :]


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def _decode(model: Model, params, token_B, cache):
    return model.decode(params, token_B, cache)


@functools.partial(jax.jit, donate_argnums=2)
def _choose(logits_BV, masks_BW, said, who, settings, eos_id):
    """A token for each row; its logprob, its sampling logprob and the allowed log mass [3,B]; the history."""
    masked_BV = processors.only_allowed(logits_BV, masks_BW)
    processed_BV = processors.process_allowed(masked_BV, said, settings, eos_id)
    keys_B = jax.vmap(lambda seed, j: jax.random.fold_in(jax.random.key(seed), j))(who["seed"], who["sample"])
    token_B = draw(keys_B, said.new_B, processed_BV)

    def logprob(x_BV):
        chosen_B1 = jnp.take_along_axis(x_BV, token_B[:, None], axis=1)
        return chosen_B1[:, 0] - jax.nn.logsumexp(x_BV, axis=1)

    mass_B = jax.nn.logsumexp(masked_BV, axis=1) - jax.nn.logsumexp(logits_BV, axis=1)
    drawn_3B = jnp.stack([logprob(logits_BV), logprob(processed_BV), mass_B])
    return token_B, drawn_3B, history.extend(said, token_B)


def _check(model: Model, prompts, seeds, constraints, counts: dict[str, int]) -> None:
    if not prompts or not all(map(len, prompts)):
        raise ValueError("no prompt, or an empty one; start an empty text with the end-of-document token")
    if not len(prompts) == len(seeds) == len(constraints):
        raise ValueError(
            f"{len(seeds)} seeds and {len(constraints)} constraints for {len(prompts)} prompts; each prompt "
            "needs one of either"
        )
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    for constraint in constraints:
        if constraint.vocabulary.size != model.config.vocab_size:
            raise ValueError(
                f"the constraint's vocabulary has {constraint.vocabulary.size} tokens, the model's "
                f"{model.config.vocab_size}; make it from the model's tokens"
            )
        if constraint.vocabulary is not constraints[0].vocabulary:
            raise ValueError("constraints of two vocabularies; make all of one batch with one Vocabulary")
