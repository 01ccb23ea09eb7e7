"""What of a corpus is kept: filters of quality first, then duplicates among what passes them.

One pass decides, and later ones read what is kept. What is decided does not depend on the order of documents:
of near-duplicates the one with the lowest rank of its group (held-out splits, where a corpus has its own),
then the longest, then the one with the smallest hash stays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.data.document import Document
from experiments.data.duplicates import decontamination, exact, minhash
from experiments.data.quality import chain
from experiments.data.quality.verdict import Filter
from experiments.data.sources.left_out import unreadable
from experiments.data_configs import DuplicatesConfig, QualityConfig

BATCH_BYTES = 1 << 22  # characters of documents that are judged together

Grouped = tuple[str, Document]  # a document with the name of its component or split


@dataclass
class Found:
    """What is known of the documents that passed the filters; entry k is of document numbers[k]."""

    numbers: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    signatures: list[np.ndarray] = field(default_factory=list)
    lines: list[exact.Pieces] = field(default_factory=list)
    runs: list[exact.Pieces] = field(default_factory=list)
    contaminated: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Decision:
    """Which documents are kept, bool[n], what is cut out of those that are, and a report as plain data."""

    kept: np.ndarray
    cuts: dict[int, list[tuple[int, int]]]
    report: dict[str, Any]

    def read(self, documents: Iterable[Grouped]) -> Iterator[tuple[str, bytes]]:
        """The group and the text of the documents that are kept; the same documents as were decided on."""
        for number, (group, document) in enumerate(documents):
            if self.kept[number]:
                text = exact.cut(encoded(document), self.cuts.get(number, ()))
                if text.strip():
                    yield group, text


def decide(
    documents: Iterable[Grouped],
    quality: QualityConfig | None,
    duplicates: DuplicatesConfig | None,
    read: Callable[[str], Iterable[Document]],
    first_groups: Sequence[str] = (),
) -> Decision:
    """What of some documents is kept.

    Args:
      documents: with the group of each.
      quality: filters; None: none.
      duplicates: which go; None: none.
      read: the documents at a path, for filters that learn and texts of evaluations.
      first_groups: groups whose documents have precedence over all others, in this order.

    Raises:
      ValueError: a filter cannot be made or cannot judge.
    """
    filters = chain.make(quality, read) if quality else {}
    against = None
    if duplicates and duplicates.against:
        against = decontamination.Items([d.text for d in read(duplicates.against)], duplicates.overlap)
    found, removed, n, n_bytes = Found(), {"unreadable": chain.Removed()}, 0, 0
    removed |= {name: chain.Removed() for name in filters}
    for batch in _batches(documents):
        texts: list[bytes] = []
        for (group, document), (name, reason) in zip(batch, judge_all(filters, [each[1] for each in batch])):
            n += 1
            text = encoded(document)
            n_bytes += len(text)
            if name:
                removed[name].add(document.text, reason)
                continue
            found.numbers.append(n - 1)
            found.digests.append(exact.digest(text))
            found.sizes.append(len(text))
            found.groups.append(group)
            texts.append(text)
        _look(found, texts, duplicates, against)
    kept = np.zeros(n, bool)
    kept[found.numbers] = True
    report: dict[str, Any] = {
        "n_documents": n,
        "n_bytes": n_bytes,
        "filters": {name: each.to_json() for name, each in removed.items()},
    }
    if not duplicates or not found.numbers:
        return Decision(kept, {}, report)
    gone, cuts, counts = _duplicates(found, duplicates, first_groups)
    kept[np.array(found.numbers)[gone]] = False
    return Decision(
        kept, {found.numbers[k]: spans for k, spans in cuts.items()}, report | {"duplicates": counts}
    )


def encoded(document: Document) -> bytes:
    """The UTF-8 text of a document; what is not Unicode in it becomes "?"."""
    return document.text.encode("utf-8", "replace")


def judge_all(filters: Mapping[str, Filter], documents: Sequence[Document]) -> list[tuple[str, str]]:
    """Which filter drops each document, and why; "unreadable" of what is no text; two "" if it stays."""
    reasons = [unreadable(document.text) for document in documents]
    judged = chain.judge_all(filters, [each for each, why in zip(documents, reasons) if not why])
    verdicts = ((name, verdict.reason) for name, verdict in judged)
    return [("unreadable", why) if why else next(verdicts) for why in reasons]


def _batches(documents: Iterable[Grouped]) -> Iterator[list[Grouped]]:
    batch: list[Grouped] = []
    size = 0
    for each in documents:
        batch.append(each)
        size += len(each[1].text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _look(
    found: Found, batch: list[bytes], config: DuplicatesConfig | None, against: decontamination.Items | None
) -> None:
    """Adds what is compared of a batch of documents, the latest of those in `found`."""
    if not config:
        return
    first = len(found.numbers) - len(batch)
    if config.near:
        found.signatures.append(minhash.signatures(batch))
    if config.lines:
        found.lines.append(exact.lines(batch, config.lines, first))
    if config.substring:
        found.runs.append(exact.word_runs(batch, config.substring, first))
    if against:
        found.contaminated.append(against.look(batch))


def ranks(found: Found, first_groups: Sequence[str]) -> np.ndarray:
    """int64[n]: the place of each document in the order of precedence, whatever the order they came in."""
    place = {group: k for k, group in enumerate(first_groups)}
    group_rank = [place.get(group, len(place)) for group in found.groups]
    order = np.lexsort(
        (
            np.unique(found.groups, return_inverse=True)[1],
            np.array(found.digests, np.uint64),
            -np.array(found.sizes, np.int64),
            np.array(group_rank),
        )
    )
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _duplicates(
    found: Found, config: DuplicatesConfig, first_groups: Sequence[str]
) -> tuple[np.ndarray, dict[int, list[tuple[int, int]]], dict[str, int]]:
    """Which entries of `found` go, bool[n], what is cut out of others, and counts of both."""
    rank = ranks(found, first_groups)
    order = np.argsort(rank)
    counts: Counter[str] = Counter()
    gone = np.zeros(len(rank), bool)
    if config.against:
        gone |= np.concatenate(found.contaminated)
        counts["against"] = int(gone.sum())
    if config.documents:
        in_order = order[~gone[order]]
        again = np.ones(len(in_order), bool)
        again[np.unique(np.array(found.digests, np.uint64)[in_order], return_index=True)[1]] = False
        gone[in_order[again]] = True
        counts["documents"] = int(again.sum())
    if config.near:
        in_order = order[~gone[order]]
        near = minhash.near_duplicates(np.concatenate(found.signatures)[in_order], config.near)
        gone[in_order[near]] = True
        counts["near"] = int(near.sum())
    spans: dict[int, list[tuple[int, int]]] = {}
    for name, parts in (("lines", found.lines), ("substring", found.runs)):
        pieces = exact.join(parts)
        stays = ~gone[pieces.owners]
        pieces = exact.Pieces(*(column[stays] for column in vars(pieces).values()))
        chosen = exact.repeated(pieces, rank)
        counts[f"{name}_repeated"] = int(chosen.sum())
        for owner, own in exact.cuts(pieces, chosen).items():
            spans[owner] = exact.merged([*spans.get(owner, []), *own])
    counts["bytes_cut"] = sum(end - start for own in spans.values() for start, end in own)
    return gone, spans, dict(counts)
