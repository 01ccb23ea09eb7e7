"""Near-duplicates by MinHash: signatures whose share of equal entries estimates the Jaccard similarity.

Documents are sets of shingles: all runs of SHINGLE letters, in the normal form of `splits.letters`. One hash
a shingle chooses a bin and is its value; a bin keeps the smallest (one permutation hashing, Li, Owen & Zhang
2012); an empty bin borrows from another, chosen by hash (Shrivastava 2017, "Optimal densification").
Documents are compared if they agree in a band of the signature (Broder 1997; Indyk & Motwani 1998).

Own code and not datasketch or rensa, which hash Python strings one by one (benchmarks/RESULTS.md).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from experiments.data.splits import letters

SHINGLE = 8  # letters; a power of two
BINS = 128
DETECTED = 0.999  # of pairs at the limit that some band brings together

_BASE = 0x9E3779B97F4A7C15
_EMPTY = np.uint32(0xFFFFFFFF)


def signatures(documents: Sequence[bytes]) -> np.ndarray:
    """uint32[len(documents), BINS] of UTF-8 documents; those shorter than a shingle are one shingle each."""
    texts = [text + bytes(max(0, SHINGLE - len(text))) for text in map(letters, documents)]
    lengths = np.array([len(text) for text in texts], np.int64)
    value = np.frombuffer(b"".join(texts) + bytes(SHINGLE), np.uint8).astype(np.uint64) + np.uint64(1)
    for exponent in range(SHINGLE.bit_length() - 1):
        width = 1 << exponent
        value = value[:-width] * np.uint64(pow(_BASE, width, 1 << 64)) + value[width:]
    owners = np.repeat(np.arange(len(texts)), lengths)
    ends = np.repeat(np.cumsum(lengths), lengths)
    kept = np.flatnonzero(np.arange(len(owners)) + SHINGLE <= ends)
    hashed, owners = _mixed(value[kept]), owners[kept]
    bins = (hashed >> np.uint64(64 - (BINS - 1).bit_length())).astype(np.int64)
    found = np.full(len(texts) * BINS, _EMPTY)
    np.minimum.at(found, owners * BINS + bins, (hashed & np.uint64(0xFFFFFFFE)).astype(np.uint32))
    return _filled(found.reshape(len(texts), BINS))


def similarity(signature: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float[k]: estimated Jaccard similarity of one document, uint32[BINS], to others, uint32[k, BINS]."""
    return (others == signature).mean(axis=1)


def limit(near: float) -> float:
    """The estimate from which documents count as `near`: two standard errors below, so that of pairs of just
    that similarity 97 % are found."""
    return near - 2 * math.sqrt(near * (1 - near) / BINS)


def n_rows(near: float) -> int:
    """Entries a band: as many as bring DETECTED of the pairs of similarity `near` together in some band."""
    fit = [r for r in range(1, BINS + 1) if 1 - (1 - near**r) ** (BINS // r) >= DETECTED]
    return max(fit, default=1)


def bands(signature: np.ndarray, near: float) -> np.ndarray:
    """uint64[n, bands]: hashes of the bands of signatures uint32[n, BINS], and of the band's number."""
    rows = n_rows(near)
    count = BINS // rows
    value = np.broadcast_to(np.arange(count, dtype=np.uint64), (len(signature), count))
    parts = signature[:, : count * rows].reshape(len(signature), count, rows).astype(np.uint64)
    for row in range(rows):
        value = _mixed(value * np.uint64(_BASE) + parts[:, :, row])
    return value


def losers(signature: np.ndarray, near: float) -> np.ndarray:
    """int64[k]: which of the documents that share a band go; the first of near-duplicates stays.

    Args:
      signature: uint32[n, BINS], in order of precedence.
      near: the similarity from which documents are near-duplicates.
    """
    kept, gone, least = [0], [], limit(near)
    for place in range(1, len(signature)):
        if (similarity(signature[place], signature[kept]) >= least).any():
            gone.append(place)
        else:
            kept.append(place)
    return np.array(gone, np.int64)


def near_duplicates(signature: np.ndarray, near: float) -> np.ndarray:
    """bool[n]: which documents are near-duplicates of one that has precedence.

    A document goes if it is similar to any before it that shares a band, whether that one stays or not: so
    every band is decided by itself, anywhere, and the union of what they find is the answer.

    Args:
      signature: uint32[n, BINS], in order of precedence.
      near: Jaccard similarity from which documents are near-duplicates.
    """
    found = np.zeros(len(signature), bool)
    for bucket in _together(bands(signature, near)):
        found[bucket[losers(signature[bucket], near)]] = True
    return found


def _together(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """The documents, in order, of each band that two or more share."""
    for band in hashes.T:
        order = np.argsort(band, kind="stable")
        edges = np.flatnonzero(np.diff(band[order]) != 0) + 1
        sizes = np.diff(np.concatenate([[0], edges, [len(order)]]))
        starts = np.cumsum(sizes) - sizes
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1]):
            yield order[start : start + size]


def _filled(found: np.ndarray) -> np.ndarray:
    """Empty bins borrow the value of a bin that is not, the same one in every document where both are so."""
    empty = found == _EMPTY
    rows, bins = np.nonzero(empty)
    source, attempt = bins.copy(), 0
    while len(rows):
        attempt += 1
        source = (_mixed((bins * 1_000_003 + attempt).astype(np.uint64)) % np.uint64(BINS)).astype(np.int64)
        ready = ~empty[rows, source]
        # The attempt is mixed in: a borrowed value equals one borrowed as often, and not its original.
        borrowed = found[rows[ready], source[ready]] ^ np.uint32(attempt * 2)
        found[rows[ready], bins[ready]] = borrowed
        rows, bins = rows[~ready], bins[~ready]
    return found


def _mixed(value: np.ndarray) -> np.ndarray:
    """All bits depend on all bits (SplitMix64's finalizer)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
