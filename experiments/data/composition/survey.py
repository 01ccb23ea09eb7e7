"""What is in some documents: counted here, or by several processes, with the same result."""

import dataclasses
import hashlib
import heapq
import itertools
import multiprocessing
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from experiments.data.composition import languages
from experiments.data.composition.counts import Amount, Composition, Scores, Texts, bucket, merge, rounded
from experiments.data.document import Document, host_of

BATCH = 512  # documents that a process is given at a time
ANY = "any of these"  # stands among the filters
LANGUAGE, DOMAIN = "language", "domain"
NONE = "(none)"  # the answer of documents that do not have the field


@dataclass(frozen=True)
class Questions:
    """What is asked of each document. All of it is sent to other processes, so it must pickle.

    Attributes:
      identify: text -> language; None: not asked.
      fields: fields of the records to count by, such as "year".
      domain_of: document -> domain; by default the host of its url, where it has one.
      count_tokens: text -> tokens; None: not counted.
      filters: name -> document -> a verdict (quality/verdict.py): whether the document stays, and its score.
    """

    identify: Callable[[str], str] | None = languages.identify
    fields: tuple[str, ...] = ()
    domain_of: Callable[[Document], str | None] | None = None
    count_tokens: Callable[[str], int] | None = None
    filters: Mapping[str, Callable[[Document], Any]] = field(default_factory=dict)


def survey(
    documents: Iterable[Document], questions: Questions = Questions(), n_sample: int = 0, n_workers: int = 1
) -> Composition:
    """What is in the documents.

    Args:
      documents: are read once.
      questions: what is asked of each.
      n_sample: look into so many documents only, those whose texts have the smallest hashes; 0 for all.
        Documents, bytes and copies are counted in all of them.
      n_workers: processes; the answer does not depend on it.
    """
    if not n_sample:
        return merge(_each(_batches(documents), questions, n_workers))
    sample: list[tuple[int, int, Document]] = []  # the largest hash stands first; copies are told by number
    total = Tally()

    def hashes() -> Iterator[int]:
        for number, document in enumerate(documents):
            total.count(document.text)
            value = text_hash(document.text)
            heapq.heappush(sample, (-value, -number, document))
            if len(sample) > n_sample:
                heapq.heappop(sample)
            yield value

    texts = Texts.of(hashes())
    chosen = (document for _, _, document in sorted(sample, key=lambda each: -each[1]))
    found = merge(_each(_batches(chosen), questions, n_workers))
    return dataclasses.replace(found, total=total.amount(), texts=texts)


def look_into(documents: Iterable[Document], questions: Questions) -> Composition:
    """What is in the documents; one process."""
    hashes: list[int] = []
    total, groups = Tally(), defaultdict(lambda: defaultdict(Tally))
    lengths: Counter[int] = Counter()
    removed_by: dict[str, int] = {name: 0 for name in questions.filters}
    if removed_by:
        removed_by[ANY] = 0
    scores: dict[str, Scores] = {}
    values: dict[str, Counter[float]] = defaultdict(Counter)
    documents = list(documents)
    together = {
        name: judge.of_batch(documents)  # type: ignore[attr-defined]
        for name, judge in questions.filters.items()
        if hasattr(judge, "of_batch")
    }
    for number, document in enumerate(documents):
        hashes.append(text_hash(document.text))
        n_tokens = questions.count_tokens(document.text) if questions.count_tokens else 0
        n_bytes = total.count(document.text, n_tokens)
        lengths[bucket(max(n_bytes, 1))] += 1
        for question, answer in _answers(document, questions):
            groups[question][answer].count(document.text, n_tokens)
        verdicts = {
            name: together[name][number] if name in together else judge(document)
            for name, judge in questions.filters.items()
        }
        for name, score in ((name, verdict.score) for name, verdict in verdicts.items()):
            if score is not None:
                scores[name] = scores.get(name) or Scores(score.what, score.least, score.most, values[name])
                values[name][rounded(score.value)] += 1
        removed = [name for name, verdict in verdicts.items() if not verdict.keep]
        for name in [*removed, *([ANY] if removed else [])]:
            removed_by[name] += 1
    amounts = {
        question: {answer: tally.amount() for answer, tally in answers.items()}
        for question, answers in groups.items()
    }
    whole = total.amount()
    return Composition(whole, whole, amounts, dict(lengths), removed_by, scores, Texts.of(hashes))


class Tally:
    """An `Amount` that grows, a document at a time."""

    def __init__(self):
        self._sums = [0] * 6

    def count(self, text: str, n_tokens: int = 0) -> int:
        """Counts a document and returns its bytes."""
        n_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        sums = self._sums
        sums[0] += 1
        sums[1] += n_bytes
        sums[2] += len(text)
        sums[3] += n_tokens
        sums[4] += n_bytes * n_bytes
        sums[5] += n_tokens * n_tokens
        return n_bytes

    def amount(self) -> Amount:
        """What was counted."""
        return Amount(*self._sums)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch


def _each(batches: Iterator[list[Document]], questions: Questions, n_workers: int) -> Iterator[Composition]:
    """The counts of each batch, in order; so many are under way that no process waits."""
    if n_workers <= 1:
        yield from (look_into(batch, questions) for batch in batches)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, context, _start, (questions,)) as pool:
        waiting = deque(pool.submit(_look_into, batch) for batch in itertools.islice(batches, 3 * n_workers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_look_into, batch) for batch in itertools.islice(batches, 1))


_questions: Questions  # of a worker process


def _start(questions: Questions) -> None:
    global _questions
    _questions = questions


def _look_into(documents: list[Document]) -> Composition:
    return look_into(documents, _questions)


def _answers(document: Document, questions: Questions) -> Iterator[tuple[str, str]]:
    if questions.identify:
        yield LANGUAGE, questions.identify(document.text)
    domain = (questions.domain_of or host)(document)
    if domain is not None:
        yield DOMAIN, domain
    for name in questions.fields:
        yield name, str(document.fields.get(name, NONE))


def host(document: Document) -> str | None:
    """The host of the document's url, without "www."; None where there is no url."""
    url: Any = document.fields.get("url")
    return (host_of(url) or NONE) if isinstance(url, str) else None


def text_hash(text: str) -> int:
    """64 bits of a text, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")
