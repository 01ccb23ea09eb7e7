"""Which split a document belongs to, and keeping near-duplicates of held-out text out of training.

The split is a hash of the document's letters: a document stays where it is when others are added, and copies
that differ only in case, spacing or punctuation never cross. Near-duplicates are found by shingles, the runs
of SHINGLE letters of a document, of which a quarter (the same everywhere) are looked at. A training document
is dropped if at least half its shingles occur in held-out documents, or if it holds at least half the
distinctive shingles of one. Likewise validation documents that are near-duplicates of test documents.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    import seqio
    import tensorflow as tf

T = TypeVar("T")  # a document as it comes: its UTF-8 text, or that with its component

HELD_OUT = {"test": 0.02, "validation": 0.02}  # fractions, in order of precedence; the rest is train
SHINGLE = 32  # letters, about seven English words; a power of two
THRESHOLD = 0.5
BOILERPLATE = 50  # a shingle in more held-out documents than this is not distinctive of any
BATCH_BYTES = 1 << 22
BATCH_DOCUMENTS = 1024

READ = [0]  # documents that this process has divided so far, for who shows progress

_BASE = 0x9E3779B97F4A7C15  # odd and without pattern (2^64 divided by the golden ratio)
_LOWER = bytes(range(256)).lower()
_NOT_LETTERS = bytes(b for b in range(128) if not chr(b).isalnum())


class SplitCorpus(Generic[T]):
    """A corpus by split. Only held-out text is kept in memory; training text is read again each time.

    `documents()` iterates over all documents, the same every time, and `text` gives the UTF-8 text of one.
    `n_assigned` counts the documents whose hash puts them into each split: what `read` yields less is
    near-duplicates left out.
    """

    def __init__(self, documents: Callable[[], Iterable[T]], text: Callable[[T], bytes] = bytes):
        self._documents, self._text = documents, text
        self.n_assigned = {split: 0 for split in ("train", *HELD_OUT)}
        assigned: dict[str, list[T]] = {split: [] for split in HELD_OUT}
        for document in documents():
            READ[0] += 1
            split = split_of(text(document))
            self.n_assigned[split] += 1
            if split in assigned:
                assigned[split].append(document)
        self._held_out: dict[str, list[T]] = {}
        for split, candidates in assigned.items():
            self._held_out[split] = list(without_near_duplicates(candidates, self._all_held_out(), text))

    def read(self, split: str) -> Iterator[T]:
        """Documents of one split; none is near-duplicate of a document in a split of higher precedence."""
        if split in self._held_out:
            return iter(self._held_out[split])
        train = (document for document in self._documents() if split_of(self._text(document)) == "train")
        return without_near_duplicates(train, self._all_held_out(), self._text)

    def _all_held_out(self) -> list[bytes]:
        return [self._text(document) for documents in self._held_out.values() for document in documents]


def split_of(document: bytes) -> str:
    """The split that a document's hash puts it into."""
    digest = hashlib.blake2b(letters(document) or document, digest_size=8).digest()
    position = int.from_bytes(digest, "little") / 2**64
    for split, fraction in HELD_OUT.items():
        if position < fraction:
            return split
        position -= fraction
    return "train"


def letters(document: bytes) -> bytes:
    """The normal form in which documents are compared: ASCII letters and digits in lower case, bytes of other
    scripts."""
    return document.translate(_LOWER, _NOT_LETTERS)


def without_near_duplicates(
    documents: Iterable[T], held_out: list[bytes], text: Callable[[T], bytes] = bytes
) -> Iterator[T]:
    """The documents that are not near-duplicates of `held_out` texts, in order; `text` gives that of one."""
    index, batch, size = Shingles(held_out), [], 0

    def distinct() -> Iterator[T]:
        near = index.near([text(document) for document in batch])
        return (document for document, is_near in zip(batch, near) if not is_near)

    for document in documents:
        batch.append(document)
        size += len(text(document))
        if size >= BATCH_BYTES:
            yield from distinct()
            batch, size = [], 0
    yield from distinct()


class Shingles:
    """The shingles of some documents in sorted order, to find near-duplicates of those documents."""

    def __init__(self, documents: list[bytes]):
        values, owners = shingles(documents)
        pairs = np.unique(np.stack([values, owners.astype(np.uint64)]), axis=1)
        self.values, self.owners = pairs[0], pairs[1].astype(np.int64)
        # Most shingles that are looked up are not there; flags by leading bits (the first two are 0) say so.
        self.is_present = np.zeros(1 << 22, bool)
        self.is_present[self.values >> np.uint64(40)] = True
        first, last = self._find(self.values)
        self.n_distinctive = np.bincount(self.owners[last - first <= BOILERPLATE], minlength=len(documents))

    def near(self, documents: list[bytes]) -> np.ndarray:
        """bool[len(documents)]: which are near-duplicates of documents in here (see the module's text)."""
        values, owners = shingles(documents)
        total = np.bincount(owners, minlength=len(documents))
        present = self.is_present[values >> np.uint64(40)]
        values, owners = values[present], owners[present]
        first, last = self._find(values)
        shared = np.bincount(owners[first < last], minlength=len(documents))
        near = (total > 0) & (shared >= THRESHOLD * total)

        # Every pair (document, held-out document) that shares a distinctive shingle, once a shingle.
        distinctive = (first < last) & (last - first <= BOILERPLATE)
        found = np.unique(np.stack([owners[distinctive], first[distinctive], last[distinctive]]), axis=1)
        n_held_out = found[2] - found[1]
        offset = np.arange(n_held_out.sum()) - np.repeat(np.cumsum(n_held_out) - n_held_out, n_held_out)
        held_out = self.owners[np.repeat(found[1], n_held_out) + offset]
        pairs = np.stack([np.repeat(found[0], n_held_out), held_out])
        (document, held_out), n_shared = np.unique(pairs, axis=1, return_counts=True)
        near[document[n_shared >= THRESHOLD * self.n_distinctive[held_out]]] = True
        return near

    def _find(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.searchsorted(self.values, values, "left"), np.searchsorted(self.values, values, "right")


def shingles(documents: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """(hash uint64[n], document int64[n]): a quarter of all shingles, chosen by hash, and their documents.

    Documents shorter than SHINGLE letters have none; their exact copies share a split anyway.
    """
    texts = [letters(document) for document in documents]
    lengths = np.array([len(text) for text in texts], np.int64)
    # Polynomial hash modulo 2^64 of the letters from each position on, doubling the width up to SHINGLE.
    value = np.frombuffer(b"".join(texts) + bytes(SHINGLE), np.uint8).astype(np.uint64) + np.uint64(1)
    for exponent in range(SHINGLE.bit_length() - 1):
        width = 1 << exponent
        value = value[:-width] * np.uint64(pow(_BASE, width, 1 << 64)) + value[width:]
    value = (value[: lengths.sum()] ^ (value[: lengths.sum()] >> np.uint64(32))) * np.uint64(_BASE)
    end = np.repeat(np.cumsum(lengths), lengths)
    kept = np.flatnonzero((np.arange(len(end)) + SHINGLE <= end) & (value >> np.uint64(62) == 0))
    return value[kept], np.repeat(np.arange(len(texts)), lengths)[kept]


def split_source(
    documents: Callable[[], Iterable[Any]], text: Callable[[Any], bytes] = bytes
) -> seqio.DataSource:
    """A seqio source of {"text"} examples, split by hash, without near-duplicates of held-out documents.

    Documents that are pairs (component, text), of which `text` takes the second, give {"text", "component"}.

    Raises:
      ValueError: what reading `documents` raises.
    """
    corpus = SplitCorpus(documents, text)  # before the slow imports: errors in the text are raised at once
    return seqio_source(corpus.read, corpus.n_assigned, text)


def seqio_source(
    read: Callable[[str], Iterable[Any]],
    n_documents: Mapping[str, int],
    text: Callable[[Any], bytes] = bytes,
) -> seqio.DataSource:
    """A seqio source of {"text"} examples, or, if documents are pairs, {"text", "component"}.

    Args:
      read: a split to its documents, as of `split_source`.
      n_documents: by split, near-duplicates that `read` leaves out counted.
      text: of a document.
    """
    import seqio
    import tensorflow as tf

    def columns(split: str) -> Iterator[dict[str, list]]:
        # Documents enter TensorFlow by the thousand: one by one takes several times longer.
        for batch in batched(read(split), BATCH_DOCUMENTS):
            names = [b"" if isinstance(document, bytes) else document[0] for document in batch]
            yield {"text": [text(document) for document in batch], "component": names}

    def dataset_fn(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        strings = tf.TensorSpec([None], tf.string)
        signature = {"text": strings, "component": strings}
        return tf.data.Dataset.from_generator(lambda: columns(split), output_signature=signature).unbatch()

    return seqio.FunctionDataSource(dataset_fn, splits=tuple(n_documents), num_input_examples=n_documents)


def batched(items: Iterable[Any], n: int) -> Iterator[list[Any]]:
    """Lists of n items, the last one of what is left."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, n)):
        yield batch
