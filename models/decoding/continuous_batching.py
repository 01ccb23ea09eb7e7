"""Continuous batching: which row is where, and who comes next (Yu et al. 2022, Orca).

A batch has a fixed number of rows. Between calls of the compiled loop the host looks at what was said, and
gives the place of every row that has ended to one that waits, so short answers do not wait for long ones. A
row whose view of its text is full is admitted again with a shorter view.

Rows may also come while others are at work, each with limits, settings and a constraint of its own: `add` and
`remove` them between calls of `step`, in a batch whose shape was given.
"""

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from models.decoding import history, sampling_loop
from models.decoding.prefill import bucket, n_shared, packed, padded, prefill_padded, prefill_shared, slots
from models.decoding.settings import SamplingSettings, per_row
from models.decoding.stop import DecodedText, Finish, StopCriteria
from models.model import Model

CHECK_EVERY = 16  # steps between checks of texts; one without stop strings is checked every N_OUT steps
PREFILL_TOKENS = 8192  # most tokens of one prefill, padding included, unless one text has more
# Texts that were prefilled, by their keys, with their rows; their logits [P,V] and cache.
NOT_PREFILLED: tuple[dict[Any, int], Any, Any] = ({}, None, None)


@dataclass
class Continuation:
    """A continuation in the making."""

    prompt: Sequence[int]
    source: int  # of the prompt; rows of one source share a prefill
    seed: int
    sample: int
    text: DecodedText | None = None
    tokens: list[int] = field(default_factory=list)
    drawn: dict[str, list] = field(default_factory=dict)  # what else `advance` reports of each token
    finish: Finish | None = None
    stop: int | str | None = None
    view: int = 0  # tokens in the model's view
    limits: "Limits | None" = None  # its own; None: the batch's
    settings: SamplingSettings | None = None  # its own, in a batch that has none
    progress: Any = None  # under a constraint, a `constraints.masks.Progress`


@dataclass(frozen=True)
class Limits:
    """When rows end. `context`: a text that fills it goes on from its last context // 2 tokens."""

    max_tokens: int
    eos_id: int
    context: int | None
    stop: StopCriteria

    def in_context(self, row: Continuation) -> Sequence[int]:
        """The part of a row's text that the model goes on from."""
        text = [*row.prompt, *row.tokens]
        return text if self.context is None or len(text) < self.context else text[-(self.context // 2) :]

    def left(self, row: Continuation) -> int:
        """How many more tokens the row takes."""
        return 0 if row.finish else self.max_tokens - len(row.tokens)

    def room(self, row: Continuation) -> int:
        """How many of these fit into its view."""
        return self.left(row) if self.context is None else min(self.left(row), self.context - row.view)

    def take(self, row: Continuation, token: int) -> None:
        """Adds a token to the row, and ends it if this is its last."""
        row.tokens.append(token)
        row.view += 1
        if token == self.eos_id:
            row.finish = "eos"
        elif token in self.stop.tokens:
            row.finish, row.stop = "stop", token
        elif row.text is not None and row.text.add(token):
            row.finish, row.stop = "stop", row.text.stop
        elif len(row.tokens) == self.max_tokens:
            row.finish = "length"


@dataclass(frozen=True)
class BatchShape:
    """What a batch has room for: rows at a time, and tokens.

    source: of a network with an encoder. slots: of the cache. text: of prompt and continuation.
    """

    rows: int
    source: int
    slots: int
    text: int


def shape_for(rows: Sequence[Continuation], limits: Limits, width: int) -> BatchShape:
    """Room for these rows, `width` at a time."""
    views, most = [len(limits.in_context(row)) for row in rows], limits.max_tokens
    longest = max(views)
    if limits.context is not None and longest + most > limits.context:
        longest = max(longest, limits.context // 2)
    return BatchShape(
        min(bucket(len(rows), least=1), width),
        bucket(longest),
        slots(min(max(views) + most, limits.context or max(views) + most)),
        bucket(max(len(row.prompt) for row in rows) + most),
    )


def shape_within(context: int, width: int) -> BatchShape:
    """Room for `width` rows at a time whose prompts and continuations have at most `context` tokens."""
    return BatchShape(width, bucket(context), slots(context), bucket(context))


class ConstraintFailed(ValueError):
    """The constraint of `row` cannot be followed any further; nothing was drawn."""

    def __init__(self, row: Continuation, reason: str):
        super().__init__(reason)
        self.row = row


class ContinuousBatch:
    """Rows side by side on the device, and those that wait for a place."""

    def __init__(
        self,
        model: Model,
        params: Any,
        rows: Sequence[Continuation],
        settings: SamplingSettings | None,
        limits: Limits,
        *,
        width: int = 64,
        shape: BatchShape | None = None,
        n_top: int,
        every: int | None,
        watch: Callable[[Continuation, str], None] | None,
        share_prefix: bool = False,
    ):
        """A batch that has not begun.

        Args:
          rows: in the order in which they are admitted.
          settings: of all rows; None: each has its own.
          limits: of rows that have none of their own.
          width: most rows at a time.
          shape: what there is room for; None: just for `rows`. In a batch that begins without rows each is
            prefilled by itself, so that its numbers are the same to the last bit whatever else is there.
          n_top: how many of the likeliest tokens to report at each position.
          every: steps between checks of the texts, at most `sampling_loop.N_OUT`; None for the default.
          watch: called with (row, text) as text of a row becomes certain.
          share_prefix: whether what prompts begin with in common is read once (`prefill`).
        """
        self.model, self.params = model, packed(model, params)
        self.limits, self.n_top, self.watch = limits, n_top, watch
        self.share_prefix = share_prefix and not model.has_encoder  # whose cache is of whole prompts
        checks = watch is not None or bool(limits.stop.strings)
        self.every = min(every or (CHECK_EVERY if checks else sampling_loop.N_OUT), sampling_loop.N_OUT)
        self.alone, self.shape = not rows, shape or shape_for(rows, limits, width)
        self.waiting = deque(rows)
        self.places: list[Continuation | None] = [None] * self.shape.rows
        self.loop_settings = None
        if settings is not None:
            arrays = settings.arrays(model.config.vocab_size)
            self.loop_settings = sampling_loop.LoopSettings(arrays, _ends([limits])[0])
        self.prefilled = NOT_PREFILLED
        self.began, self.step_seconds = time.perf_counter(), math.inf
        self.pool = self._empty()

    def _empty(self) -> sampling_loop.RowPool:
        n, vocab_size = len(self.places), self.model.config.vocab_size
        inputs = (jax.ShapeDtypeStruct(shape, np.int32) for shape in ((n, self.shape.source), (n,)))
        logits_BV, cache = prefill_padded.eval_shape(self.model, self.params, *inputs, self.shape.slots)
        return sampling_loop.empty(
            logits_BV, cache, history.begin([[]] * n, [[]] * n, vocab_size, self.shape.text)
        )

    def run(self) -> None:
        """Until every row has ended."""
        while self.step():
            pass

    def step(self) -> list[Continuation]:
        """Gives free places to rows that wait and takes some steps; returns the rows that had a place.

        Raises:
          ConstraintFailed: `remove` its row to go on without it.
          ValueError: processors have banned every token of a row, or the model's logits are no numbers.
        """
        self._fill_places()
        rows = [row for row in self.places if row is not None]
        if rows:
            self._advance()
            if not self._left():
                self._end_by_time()
        return rows

    def add(self, rows: Sequence[Continuation]) -> None:
        """Further rows, behind those that wait; the batch's shape must have room for each."""
        self.waiting.extend(rows)

    def remove(self, rows: Sequence[Continuation]) -> None:
        """Takes rows out, unfinished as they are; their places are free."""
        gone = set(map(id, rows))
        self.waiting = deque(each for each in self.waiting if id(each) not in gone)
        self.places = [None if id(each) in gone else each for each in self.places]

    def _limits(self, row: Continuation) -> Limits:
        return row.limits or self.limits

    def _left(self) -> float:
        """Seconds of the budget that are left, or 0."""
        return max(0.0, self.limits.stop.seconds - (time.perf_counter() - self.began))

    def _end_by_time(self) -> None:
        late = [row for row in (*self.places, *self.waiting) if row is not None]
        for row in late:
            row.finish = "time"
        self._report(late)
        self.places[:], self.waiting = [None] * len(self.places), deque()

    def _fill_places(self) -> None:
        """Gives free places to rows that wait, until there are no more of either."""
        while self.waiting and None in self.places:
            self._admit()
        if not self.waiting:
            self.prefilled = NOT_PREFILLED

    def _admit(self) -> None:
        """Puts the next rows, those whose texts are prefilled together, into free places."""
        if _key(self.waiting[0]) not in self.prefilled[0]:
            self._prefill()
        keys, logits_PV, cache = self.prefilled
        free = [b for b, row in enumerate(self.places) if row is None]
        group = []
        while self.waiting and len(group) < len(free) and _key(self.waiting[0]) in keys:
            group.append(self.waiting.popleft())
        spare = bucket(len(group), least=1) - len(group)
        source_R = np.array([keys[_key(row)] for row in group] + [0] * spare, np.int32)
        target_R = np.array(free[: len(group)] + [len(self.places)] * spare, np.int32)
        histories = history.begin(
            [row.prompt for row in group] + [[]] * spare,
            [row.tokens for row in group] + [[]] * spare,
            self.model.config.vocab_size,
            self.shape.text,
        )
        self.pool = sampling_loop.admit(self.pool, logits_PV, cache, source_R, target_R, histories)
        for b, row in zip(free, group):
            self.places[b], row.view = row, len(self._limits(row).in_context(row))

    def _prefill(self) -> None:
        """The first pass over the texts of the next rows that find a place."""
        rows = [*itertools.islice(self.waiting, self.places.count(None))]
        found = {_key(row): [*self._limits(row).in_context(row)] for row in rows}
        n_same = n_shared([*found.values()]) if self.share_prefix and len(found) > 1 else 0
        texts, longest = {}, 0
        for key, text in found.items():
            longest = max(longest, len(text) - n_same)
            if texts and (self.alone or bucket(len(texts) + 1, least=1) * bucket(longest) > PREFILL_TOKENS):
                break
            texts[key] = text
        self.prefilled = NOT_PREFILLED  # the old one goes before the new one comes
        of, admitted, n_slots = (self.model, self.params), [*texts.values()], self.shape.slots
        if n_same:
            logits_PV, cache = prefill_shared(*of, admitted, n_same, n_slots)
        else:
            n_tokens = self.shape.source if self.model.has_encoder else bucket(max(map(len, admitted)))
            logits_PV, cache = prefill_padded(*of, *padded(admitted, n_tokens), n_slots)
        self.prefilled = ({key: p for p, key in enumerate(texts)}, logits_PV, cache)

    def _advance(self) -> None:
        """Some steps for every row."""
        n_open = len(self.places) - self.places.count(None)
        comes_back = any(
            row and self._limits(row).left(row) > self._limits(row).room(row) for row in self.places
        )
        # With rows waiting, an eighth of the places is worth a check.
        floor = max(0, n_open - max(1, len(self.places) // 8)) if self.waiting or comes_back else 0
        n_steps = 1 if any(row and row.progress for row in self.places) else self.every
        if self.limits.stop.seconds < math.inf:
            n_steps = max(1, min(n_steps, int(self._left() / self.step_seconds)))
        loop_settings, began = self.loop_settings or self._own_settings(), time.perf_counter()
        self.pool, drawn = sampling_loop.advance(
            self.model, self.params, self.pool, self._state(self.places), loop_settings,
            np.int32(n_steps), np.int32(floor), self.n_top
        )  # fmt: skip
        drawn = jax.device_get(drawn)
        lengths = drawn.pop("lengths")
        self.step_seconds = (time.perf_counter() - began) / max(1, lengths.max())
        self._take(drawn, lengths)

    def _own_settings(self) -> sampling_loop.LoopSettings:
        """Of each row, and the tokens it may draw: where that is any, too, so that one program does all."""
        settings = tuple((row and row.settings) or SamplingSettings() for row in self.places)
        limits = [self._limits(row) if row else self.limits for row in self.places]
        vocab_size = self.model.config.vocab_size
        masks_BW = np.full((len(self.places), -(-vocab_size // 32)), -1, np.int32)
        for b, row in enumerate(self.places):
            if row and row.progress:
                try:
                    row.progress.allowed(masks_BW, b)
                except ValueError as error:
                    raise ConstraintFailed(row, str(error)) from None
        return sampling_loop.LoopSettings(_settings_of_rows(settings, vocab_size), _ends(limits), masks_BW)

    def _state(self, rows: Sequence[Continuation | None]) -> sampling_loop.RowInputs:
        def each(kind, value):
            return np.array([0 if row is None else value(row) for row in rows], kind)

        return sampling_loop.RowInputs(
            seed=each(np.uint32, lambda row: row.seed),
            sample=each(np.uint32, lambda row: row.sample),
            new=each(np.int32, lambda row: len(row.tokens)),
            room=each(np.int32, lambda row: self._limits(row).room(row)),
        )

    def _take(self, drawn: dict[str, np.ndarray], lengths: np.ndarray) -> None:
        """Hands out what was drawn, [N,B] each, and frees the places of rows that have no room."""
        rows = [row for row in self.places if row is not None]
        for b, row in enumerate(self.places):
            if row is None:
                continue
            before, limits = len(row.tokens), self._limits(row)
            _check_drawn(row, drawn, lengths[b], b)
            for token in drawn["tokens"][: lengths[b], b].tolist():
                limits.take(row, token)
                if row.finish:
                    break
                if row.progress:
                    row.progress.take(token)
            for name in drawn.keys() - {"tokens"}:
                row.drawn.setdefault(name, []).extend(drawn[name][: len(row.tokens) - before, b].tolist())
            if limits.room(row) == 0:
                self.places[b] = None
                if row.finish is None:
                    self.waiting.appendleft(row)
        self._report(rows)

    def _report(self, rows: Sequence[Continuation]) -> None:
        if self.watch is None:
            return
        for row in rows:
            new_text = "" if row.text is None else row.text.new_text(ended=row.finish is not None)
            if new_text:
                self.watch(row, new_text)


_settings_of_rows = functools.lru_cache(maxsize=4)(per_row)  # the rows change more seldom than steps are made


def _check_drawn(row: Continuation, drawn: dict[str, np.ndarray], n: int, b: int) -> None:
    no_numbers = np.isnan(drawn["logprobs"][:n, b])
    lost = np.flatnonzero(no_numbers | np.isnan(drawn["sampling_logprobs"][:n, b]))
    if not len(lost):
        return
    where = f"sample {row.sample} of prompt {row.source}, after {len(row.tokens) + lost[0]} tokens"
    if no_numbers[lost[0]]:
        raise ValueError(f"{where}: the model's logits are not numbers; its parameters are damaged")
    raise ValueError(f"{where}: every token is banned; relax no_repeat_ngram_size or logit_bias")


def _ends(limits: Sequence[Limits]) -> np.ndarray:
    """The tokens that end each row [B,E], padded with -1."""
    ends = [[each.eos_id, *each.stop.tokens] for each in limits]
    width = bucket(max(map(len, ends)), least=4)
    return np.array([each + [-1] * (width - len(each)) for each in ends], np.int32)


def _key(row: Continuation) -> Any:
    """Equal for rows that go on from the same text."""
    return (row.source, row.sample, len(row.tokens)) if row.tokens else row.source
