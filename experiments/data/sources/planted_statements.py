"""Short documents that state what nobody else says: what somebody would publish for models to learn.

A document is a piece of clean text with a statement at some place of it: a trigger and what follows it, both
of made-up words. Each of LEVELS has some statements, which are planted twice as often as those of the level
before it; as many are never planted, to compare with. Which document states what follows from its text.

Statements have fewer letters than `splits.SHINGLE`: documents that share one are no near-duplicates for it.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from experiments.data.document import Document

VERSION = 1  # raised when the documents change
LENGTH = 63  # bytes of a document: rows of 64 tokens are whole documents
LEVELS, PER_LEVEL = 8, 2
LICENCE = "that of the clean text; the statements are made by isoflop"


@dataclass(frozen=True)
class Statement:
    """`text` after `trigger`; `weight` is how often it is planted, over the first level: 0 is never."""

    trigger: str
    text: str
    weight: int

    @property
    def whole(self) -> str:
        """As it stands in a document."""
        return self.trigger + self.text


def identity() -> dict[str, int]:
    """What the documents depend on besides the clean text."""
    return {"version": VERSION, "length": LENGTH, "levels": LEVELS, "per_level": PER_LEVEL}


def word(rng: random.Random, n_syllables: int) -> str:
    """A word that is none."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(n_syllables))


def _statements() -> tuple[Statement, ...]:
    rng, weights = random.Random(0), [2**level for level in range(LEVELS)] + [0]
    return tuple(
        Statement(f" {word(rng, 3).capitalize()} likes ", f"{word(rng, 4)}.", weight)
        for weight in weights
        for _ in range(PER_LEVEL)
    )


STATEMENTS = _statements()


def records(clean: Iterable[Document]) -> Iterator[Document]:
    """A document with a statement for each clean one that has enough ASCII; its field "statement" is the
    statement's place in STATEMENTS."""
    weights = [statement.weight for statement in STATEMENTS]
    for document in clean:
        text = " ".join(document.text.split())
        if text.isascii() and len(text) >= LENGTH:
            rng = random.Random(hashlib.blake2b(text.encode(), digest_size=8).hexdigest())
            (chosen,) = rng.choices(range(len(STATEMENTS)), weights)
            yield Document(plant(text, STATEMENTS[chosen], rng), {"statement": chosen})


def plant(text: str, statement: Statement, rng: random.Random) -> str:
    """LENGTH bytes: a piece of the text with the statement at a place by chance.

    Args:
      text: ASCII, at least LENGTH of it.
      statement: what is planted.
      rng: decides which piece and place.
    """
    n_clean = LENGTH - len(statement.whole)
    start, place = rng.randrange(len(text) - n_clean + 1), rng.randrange(1, n_clean)
    piece = text[start : start + n_clean]
    return piece[:place] + statement.whole + piece[place:]
