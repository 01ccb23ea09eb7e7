"""One batch, in a thread of its own, which requests join and leave while others are decoded.

Between two calls of the compiled loop the thread looks at what has come: new rows wait for a place, those
that nobody waits for any more give theirs up. What a row says is a function of its prompt, seed, sample
number, settings and constraint, to the last bit, whatever else is asked for at the time
(`models.decoding.continuous_batching`).
"""

import codecs
import contextlib
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.evaluate.loaded_model import LoadedModel
from launch.serve.answers import Piece
from launch.serve.scores import prompt_scores
from models.decoding.continuous_batching import (
    ConstraintFailed,
    Continuation,
    ContinuousBatch,
    Limits,
    shape_within,
)
from models.decoding.settings import SamplingSettings
from models.decoding.stop import DecodedText, StopCriteria

EVERY = 8  # steps between two looks at what has come
N_TOP = 20  # likeliest tokens that are always computed, so that one program does all
CLOSED = ConnectionAbortedError("the server is shutting down")
Report = Callable[[Piece | Exception], object]


@dataclass(frozen=True)
class Question:
    """A prompt and what is wanted of it: choices first_index, first_index + 1, … of a request.

    hidden: tokens at the prompt's beginning that an echo leaves out. max_tokens: 0 for its echo alone.
    constraint: of `models.decoding.constraints`, or None. scored: whether an echo has log-probabilities.
    """

    prompt: tuple[int, ...]
    seed: int
    max_tokens: int
    eos_id: int
    settings: SamplingSettings
    n: int = 1
    first_index: int = 0
    stop: tuple[str, ...] = ()
    constraint: Any = None
    echo: bool = False
    scored: bool = False
    hidden: int = 0


class _Offsets:
    """Where the text of each token begins, in characters, in a text that grows from `start`."""

    def __init__(self, token_bytes: Sequence[bytes], start: int = 0):
        self._token_bytes, self._at = token_bytes, start
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")

    def of(self, tokens: Sequence[int]) -> tuple[int, ...]:
        found = []
        for token in tokens:
            found.append(self._at)
            self._at += len(self._decoder.decode(self._token_bytes[token]))
        return tuple(found)


@dataclass(eq=False)
class _Choice:
    """A choice in the making; `n_reported` of its tokens were reported."""

    row: Continuation
    index: int
    report: Report
    offsets: _Offsets
    n_reported: int = 0


class Engine:
    """The batch of a checkpoint. `submit` and `cancel` may be called from any thread."""

    def __init__(self, loaded: LoadedModel, max_batch: int):
        """An engine at work.

        Args:
          loaded: the checkpoint.
          max_batch: rows that are decoded at a time; further ones wait.
        """
        self.loaded, self.max_batch = loaded, max_batch
        self.token_bytes = loaded.token_bytes()
        self._n_top = min(N_TOP, loaded.model.config.vocab_size)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open: dict[int, _Choice] = {}  # by the identity of their rows
        self._n_prompts, self._closing = 0, False
        self._batch = self._new_batch()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, questions: Sequence[Question], report: Report) -> object:
        """Asks, and returns what `cancel` takes.

        `report` is called in the engine's thread, and must be quick: with each piece of a choice, the last of
        which has its finish, or with what went wrong, which ends the request.
        """
        if self._closing:
            report(CLOSED)
        self._inbox.put(lambda: self._guarded(lambda: self._admit(questions, report), report))
        return report

    def cancel(self, asked: object) -> None:
        """Frees the places of a request, if it is not answered yet."""
        self._inbox.put(lambda: self._drop(asked))

    def close(self) -> None:
        """Ends all requests with an error, and the thread."""

        def close():
            self._closing = True

        self._inbox.put(close)
        self._thread.join()

    @property
    def n_open(self) -> int:
        """Rows that are decoded or wait for it."""
        return len(self._open)

    def _work(self) -> None:
        while not self._closing:
            self._listen(wait=not self._open)
            if self._closing:
                break
            try:
                rows = self._batch.step()
            except ConstraintFailed as error:
                self._fail(self._open[id(error.row)].report, ValueError(f"response_format: {error}"))
                continue
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                self._fail_all(RuntimeError(f"the batch failed: {error}"))
                self._batch = self._new_batch()
                continue
            for row in rows:
                self._tell(self._open[id(row)])
        self._listen(wait=False)
        self._fail_all(CLOSED)

    def _new_batch(self) -> ContinuousBatch:
        context, eos_id = self.loaded.config.seq_len, self.loaded.vocab.eos_id
        return ContinuousBatch(
            self.loaded.model,
            self.loaded.params,
            [],
            None,
            Limits(context, eos_id, None, StopCriteria()),
            shape=shape_within(context, self.max_batch),
            n_top=self._n_top,
            every=EVERY,
            watch=None,
        )

    def _listen(self, wait: bool) -> None:
        """Does what was asked for since the last time; with `wait`, waits until something is."""
        with contextlib.suppress(queue.Empty):
            self._inbox.get(block=wait)()
            while True:
                self._inbox.get_nowait()()

    def _guarded(self, act: Callable[[], None], report: Report) -> None:
        try:
            act()
        except Exception as error:
            self._fail(report, error)

    def _admit(self, questions: Sequence[Question], report: Report) -> None:
        for question in questions:
            self._n_prompts += 1
            echo = self._echo(question) if question.echo else None
            for sample in range(question.n):
                index = question.first_index + sample
                if echo is not None:
                    finish = None if question.max_tokens else "length"
                    report(replace(echo, index=index, finish=finish))
                if question.max_tokens:
                    row = self._row(question, sample)
                    offsets = _Offsets(self.token_bytes, 0 if echo is None else len(echo.text))
                    self._open[id(row)] = _Choice(row, index, report, offsets)
                    self._batch.add([row])

    def _row(self, question: Question, sample: int) -> Continuation:
        stop = StopCriteria(strings=question.stop, tokens=(*self.loaded.end_ids, self.loaded.vocab.eos_id))
        limits = Limits(question.max_tokens, question.eos_id, None, stop)
        progress = None if question.constraint is None else question.constraint.start()
        return Continuation(
            list(question.prompt),
            self._n_prompts,
            question.seed,
            sample,
            DecodedText(self.token_bytes, question.stop),
            limits=limits,
            settings=question.settings,
            progress=progress,
        )

    def _echo(self, question: Question) -> Piece:
        """The prompt as the first piece of a choice."""
        prompt, hidden = list(question.prompt), question.hidden
        shown = prompt[hidden:]
        text = b"".join(self.token_bytes[token] for token in shown).decode("utf-8", errors="ignore")
        if not question.scored:
            return Piece(0, text, echo=True)
        offsets = _Offsets(self.token_bytes).of(shown)
        scores = prompt_scores(self.loaded.model, self.loaded.params, prompt, self._n_top)
        logprobs = [None, *scores["logprobs"].tolist()][hidden:]
        pairs = zip(scores["top_tokens"].tolist(), scores["top_logprobs"].tolist())
        top = [(), *(tuple(zip(*each)) for each in pairs)][hidden:]
        return Piece(0, text, tuple(shown), tuple(logprobs), tuple(top), offsets, echo=True)

    def _tell(self, choice: _Choice) -> None:
        """Reports what a row has said since the last time."""
        row, start = choice.row, choice.n_reported
        tokens = tuple(row.tokens[start:])
        choice.n_reported += len(tokens)
        assert row.text is not None
        text = row.text.new_text(ended=row.finish is not None)
        names = ("logprobs", "top_tokens", "top_logprobs")
        logprobs, *likeliest = (tuple(row.drawn[name][start:]) for name in names)
        top = tuple(tuple(zip(*each)) for each in zip(*likeliest))
        if row.finish:
            del self._open[id(row)]
        offsets = choice.offsets.of(tokens)
        choice.report(Piece(choice.index, text, tokens, logprobs, top, offsets, row.finish))

    def _drop(self, report: object) -> None:
        rows = [each.row for each in self._open.values() if each.report is report]
        for row in rows:
            del self._open[id(row)]
        self._batch.remove(rows)

    def _fail(self, report: Report, error: Exception) -> None:
        self._drop(report)
        report(error)

    def _fail_all(self, error: Exception) -> None:
        for report in {each.report for each in self._open.values()}:
            self._fail(report, error)
