"""MB/s of one core of each comparison, beside datasketch and rensa, and planted near-duplicates found.

    python -m benchmarks.experiments.duplicates [TEXT.jsonl.xz]

Made text of random words where no file is given. The libraries are measured where they are installed: with
runs of five words, 128 permutations, as their documentation has it.
"""

import random
import sys
import time
from collections.abc import Callable

import numpy as np

from experiments.data.document import Document
from experiments.data.duplicates import exact, minhash
from experiments.data.duplicates.words import runs, words
from experiments.data.sources import textfiles
from experiments.data.splits import letters


def made(n: int) -> list[bytes]:
    """n texts of 150 random words."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2 + i % 9)) for i in range(30_000)]
    return [" ".join(rng.choices(vocabulary, k=150)).encode() for _ in range(n)]


def speed(name: str, work: Callable[[list[bytes]], object], texts: list[bytes], at_a_time: int = 500) -> None:
    start = time.process_time()
    for first in range(0, len(texts), at_a_time):
        work(texts[first : first + at_a_time])
    seconds = time.process_time() - start
    print(f"{name:<44} {sum(map(len, texts)) / 1e6 / seconds:8.1f} MB/s")


def five_words(text: bytes) -> list[str]:
    found = text.decode().lower().split()
    return [" ".join(found[k : k + 5]) for k in range(len(found) - 4)]


def planted(near: float, n: int = 500) -> str:
    """Of n copies of exact similarity `near` or barely more, how many are found; and what else is."""
    documents, rng = [], random.Random(1)
    for text in made(n):
        other, copy, n_edits = text.split(b" "), text, 0
        order = rng.sample(range(150), 150)
        while n_edits < 150:
            other[order[n_edits]] = rng.choice(other)
            n_edits += 1
            if jaccard(text, b" ".join(other)) < near:
                break
            copy = b" ".join(other)
        documents += [text, copy]
    gone = np.flatnonzero(minhash.near_duplicates(minhash.signatures(documents), near))
    right = np.count_nonzero(gone % 2 == 1)
    return f"similarity {near}: recall {right / n:.3f}, precision {right / max(1, len(gone)):.3f}"


def jaccard(one: bytes, other: bytes) -> float:
    a, b = ({t[i : i + minhash.SHINGLE] for i in range(len(t) - 7)} for t in map(letters, (one, other)))
    return len(a & b) / len(a | b)


def main() -> None:
    documents = textfiles.records(sys.argv[1]) if len(sys.argv) > 1 else map(as_document, made(20_000))
    texts = [document.text.encode() for document in documents]
    print(f"{len(texts)} documents, {sum(map(len, texts)) / 1e6:.1f} MB, one core, CPU time")
    speed("equal documents", lambda batch: [exact.digest(text) for text in batch], texts)
    speed("lines", lambda batch: exact.lines(batch, 30), texts)
    speed("runs of 50 words", lambda batch: exact.word_runs(batch, 50), texts)
    speed("runs of 13 words, to look up", lambda batch: runs(words(batch), 13), texts)
    speed("MinHash signatures", minhash.signatures, texts)
    signature = np.concatenate([minhash.signatures(texts[k : k + 500]) for k in range(0, len(texts), 500)])
    speed("bands and pairs", lambda batch: minhash.near_duplicates(signature, 0.6), texts, len(texts))
    try:
        import rensa

        def by_rensa(batch: list[bytes]) -> None:
            for text in batch:
                sketch = rensa.RMinHash(num_perm=128, seed=42)
                sketch.update(five_words(text))
                sketch.digest()

        speed("rensa 128 permutations, five words", by_rensa, texts[:1000])
    except ImportError:
        print("rensa is not installed")
    try:
        import datasketch

        def by_datasketch(batch: list[bytes]) -> None:
            for text in batch:
                datasketch.MinHash(num_perm=128, seed=1).update_batch([s.encode() for s in five_words(text)])

        speed("datasketch 128 permutations, five words", by_datasketch, texts[:200])
    except ImportError:
        print("datasketch is not installed")
    for near in (0.8, 0.6):
        print(planted(near))


def as_document(text: bytes) -> Document:
    return Document(text.decode())


if __name__ == "__main__":
    main()
