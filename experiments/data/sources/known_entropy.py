"""Synthetic text whose entropy is known exactly, so that a fitted irreducible loss has a truth to meet.

All documents of a source have one length, and each ends with the end-of-sequence token. Rows of `row_length`
tokens are then whole documents: every symbol is predicted with all of its document before it in view, the
first of a document after the end of another, which tells nothing. So the lowest loss that any model can reach
is the entropy of a document over `row_length`, the end counting as a token that costs nothing.

A symbol is a character, and so one byte.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

N_DOCUMENTS, BATCH = 65_536, 8192
LICENCE = "made by isoflop"

# ---- Zipf skills -------------------------------------------------------------------------------------------
#
# A block is a skill, drawn from a power law and written in base 32, and answers that the skill tells: noisy
# readings of a table that is drawn once, at random. The table is the knowledge to be learnt. A model of the n
# most common skills is off by ~ n^-0.5, one that has seen D tokens by ~ D^-1/3 (Hutter 2021, arXiv
# 2102.04074; Michaud et al. 2023, arXiv 2303.13506).
BASE, DIGITS, ANSWERS, RANGE = 32, 3, 4, 16
ALPHA, NOISE = 0.5, 0.2
BLOCK, BLOCKS = DIGITS + ANSWERS, 9

# ---- A Markov chain of order 2 -----------------------------------------------------------------------------
#
# After any two symbols the next one has the same probabilities, a power law, on symbols in an order of their
# own: the entropy rate is that of the power law, whatever the order is.
STATES, CHAIN, CHAIN_POWER = 24, 63, 1.5

# ---- A probabilistic context-free grammar ------------------------------------------------------------------
#
# A symbol becomes a pair by one of its rules, `levels` times over. Every pair is the right side of one
# rule at most, so that a text has one derivation only (the random hierarchy model, Cagnetta et al. 2023,
# arXiv 2307.02129, with rules of unequal probability).
SYMBOLS, RULE_POWER = 16, 1.0


@dataclass(frozen=True)
class Grammar:
    """Each symbol has so many rules; a document is `trees` sentences, each of 2^levels symbols."""

    rules: int
    levels: int
    trees: int

    @property
    def length(self) -> int:
        """Symbols of a document."""
        return self.trees * 2**self.levels

    @property
    def entropy(self) -> float:
        """Of a document, in nats: that of its roots and of a rule at each pair."""
        of_a_rule = entropy_of(power_law(self.rules, RULE_POWER))
        return self.trees * (float(np.log(SYMBOLS)) + (2**self.levels - 1) * of_a_rule)


# The second is learnt by models of some 10,000 parameters: what they say can be a sentence of it.
LONG, SHORT = Grammar(rules=8, levels=4, trees=4), Grammar(rules=2, levels=4, trees=1)


@dataclass(frozen=True)
class KnownSource:
    """A source of documents of known entropy.

    Attributes:
      summary: for people.
      first: the character of symbol 0.
      n_symbols: how many symbols there are.
      length: symbols in a document.
      draw: (rng, n) -> documents int[n, length], independent.
      nats: documents int[n, length] -> minus the logarithm of their exact probability [n].
      entropy: of a document, in nats: the mean of `nats`.
      rephrase: documents int[n, length] -> the same, said in another way; None: its text means nothing.
    """

    summary: str
    first: str
    n_symbols: int
    length: int
    draw: Callable[[np.random.Generator, int], np.ndarray]
    nats: Callable[[np.ndarray], np.ndarray]
    entropy: float
    rephrase: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def row_length(self) -> int:
        """Tokens of a document with its end: the `seq_len` that the entropy holds for."""
        return self.length + 1

    @property
    def loss(self) -> float:
        """The lowest loss that a model can reach, in nats a token."""
        return self.entropy / self.row_length


def documents(source: KnownSource) -> Iterator[bytes]:
    """The corpus, always the same."""
    rng = np.random.default_rng(0)
    for _ in range(N_DOCUMENTS // BATCH):
        symbols = source.draw(rng, BATCH) + ord(source.first)
        yield from (row.tobytes() for row in symbols.astype(np.uint8))


def identity(source: KnownSource) -> dict[str, Any]:
    """What the corpus is made from."""
    return {"documents": N_DOCUMENTS, "length": source.length, "entropy": source.entropy, "format": 1}


def symbols(source: KnownSource, text: list[bytes]) -> np.ndarray:
    """The symbols of documents, int[n, length]."""
    return np.frombuffer(b"".join(text), np.uint8).reshape(-1, source.length).astype(int) - ord(source.first)


def entropy_of(p: np.ndarray) -> float:
    """Of one draw with these probabilities, in nats."""
    return float(-p @ np.log(p))


def power_law(n: int, power: float) -> np.ndarray:
    """Probabilities of n things, that of the k-th ~ k^-power."""
    p = np.arange(1, n + 1, dtype=float) ** -power
    return p / p.sum()


def skill_probabilities() -> np.ndarray:
    """Of the skills, [BASE^DIGITS]."""
    return power_law(BASE**DIGITS, 1 + ALPHA)


def answer_probabilities() -> tuple[float, float]:
    """(of the right answer, of each of the others)."""
    return 1 - NOISE + NOISE / RANGE, NOISE / RANGE


def answer_entropy() -> float:
    """Of an answer whose skill is known, in nats."""
    right, wrong = answer_probabilities()
    return entropy_of(np.array([right, *[wrong] * (RANGE - 1)]))


@functools.cache
def answer_table() -> np.ndarray:
    """The answers of every skill [BASE^DIGITS, ANSWERS]."""
    return np.random.default_rng(1).integers(0, RANGE, (BASE**DIGITS, ANSWERS))


def draw_skills(rng: np.random.Generator, n: int) -> np.ndarray:
    skill = rng.choice(BASE**DIGITS, size=(n, BLOCKS), p=skill_probabilities())
    digits = skill[..., None] // BASE ** np.arange(DIGITS - 1, -1, -1) % BASE + BASE * np.arange(DIGITS)
    noisy = rng.random((n, BLOCKS, ANSWERS)) < NOISE
    answers = np.where(noisy, rng.integers(0, RANGE, noisy.shape), answer_table()[skill])
    return np.concatenate([digits, answers + BASE * DIGITS], axis=-1).reshape(n, -1)


def skills_of(documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(skills int[n, BLOCKS], which answers are as the table has them, bool[n, BLOCKS, ANSWERS])."""
    blocks = documents.reshape(len(documents), BLOCKS, BLOCK)
    skill = (blocks[..., :DIGITS] % BASE) @ BASE ** np.arange(DIGITS - 1, -1, -1)
    return skill, blocks[..., DIGITS:] - BASE * DIGITS == answer_table()[skill]


def skill_nats(documents: np.ndarray) -> np.ndarray:
    skill, right = skills_of(documents)
    p_right, p_wrong = answer_probabilities()
    answers = np.where(right, -np.log(p_right), -np.log(p_wrong)).sum(axis=(1, 2))
    nats = answers - np.log(skill_probabilities())[skill].sum(axis=1)
    kind = np.minimum(documents.reshape(len(documents), BLOCKS, BLOCK) // BASE, DIGITS)  # digit, or answer
    return np.where((kind == [*range(DIGITS), *[DIGITS] * ANSWERS]).all(axis=(1, 2)), nats, np.inf)


def rephrase_skills(documents: np.ndarray) -> np.ndarray:
    """The same questions with the answers that the table has: what is said is kept, its noise is not."""
    skill, _ = skills_of(documents)
    blocks = documents.reshape(len(documents), BLOCKS, BLOCK).copy()
    blocks[..., DIGITS:] = answer_table()[skill] + BASE * DIGITS
    return blocks.reshape(len(documents), -1)


@functools.cache
def chain_orders() -> np.ndarray:
    """The symbols from the most to the least probable after each pair [STATES, STATES, STATES]."""
    rng = np.random.default_rng(2)
    return np.argsort(rng.random((STATES, STATES, STATES)), axis=-1)


def draw_chain(rng: np.random.Generator, n: int) -> np.ndarray:
    rank = rng.choice(STATES, size=(n, CHAIN), p=power_law(STATES, CHAIN_POWER))
    text = rng.integers(0, STATES, (n, CHAIN))  # the first two stay as they are
    for i in range(2, CHAIN):
        text[:, i] = chain_orders()[text[:, i - 2], text[:, i - 1], rank[:, i]]
    return text


def chain_nats(documents: np.ndarray) -> np.ndarray:
    ranks = np.argsort(chain_orders(), axis=-1)
    seen = ranks[documents[:, :-2], documents[:, 1:-1], documents[:, 2:]]
    return 2 * np.log(STATES) - np.log(power_law(STATES, CHAIN_POWER))[seen].sum(axis=1)


@functools.cache
def pairs_of(grammar: Grammar) -> np.ndarray:
    """Pairs, as left * SYMBOLS + right, that each symbol becomes by each of its rules [SYMBOLS, rules]."""
    n = SYMBOLS * grammar.rules
    return np.random.default_rng(3).permutation(SYMBOLS**2)[:n].reshape(SYMBOLS, grammar.rules)


def draw_sentences(grammar: Grammar, rng: np.random.Generator, n: int) -> np.ndarray:
    text, p = rng.integers(0, SYMBOLS, (n, grammar.trees)), power_law(grammar.rules, RULE_POWER)
    for _ in range(grammar.levels):
        pair = pairs_of(grammar)[text, rng.choice(grammar.rules, size=text.shape, p=p)]
        text = np.stack(np.divmod(pair, SYMBOLS), axis=-1).reshape(n, -1)
    return text


def sentence_nats(grammar: Grammar, documents: np.ndarray) -> np.ndarray:
    parent, nats = np.full(SYMBOLS**2, -1), np.full(SYMBOLS**2, np.inf)
    parent[pairs_of(grammar)] = np.arange(SYMBOLS)[:, None]
    nats[pairs_of(grammar)] = -np.log(power_law(grammar.rules, RULE_POWER))
    text, total = documents, np.full(len(documents), grammar.trees * np.log(SYMBOLS))
    for _ in range(grammar.levels):
        pair = text[:, ::2] * SYMBOLS + text[:, 1::2]
        text, total = parent[pair], total + nats[pair].sum(axis=1)
    return total


def _of_grammar(summary: str, grammar: Grammar) -> KnownSource:
    draw, nats = functools.partial(draw_sentences, grammar), functools.partial(sentence_nats, grammar)
    return KnownSource(summary, "A", SYMBOLS, grammar.length, draw, nats, grammar.entropy)


KNOWN_SOURCES = {
    "zipf_skills": KnownSource(
        "blocks that ask for one of many facts of a power law of frequencies, and its noisy answer",
        *(chr(14), BASE * DIGITS + RANGE, BLOCKS * BLOCK, draw_skills, skill_nats),
        BLOCKS * (entropy_of(skill_probabilities()) + ANSWERS * answer_entropy()),
        rephrase_skills,
    ),
    "markov": KnownSource(
        "a Markov chain of order 2",
        *("A", STATES, CHAIN, draw_chain, chain_nats),
        2 * float(np.log(STATES)) + (CHAIN - 2) * entropy_of(power_law(STATES, CHAIN_POWER)),
    ),
    "grammar": _of_grammar("sentences of a probabilistic context-free grammar", LONG),
    "short_grammar": _of_grammar("one sentence of a grammar with fewer rules", SHORT),
}
