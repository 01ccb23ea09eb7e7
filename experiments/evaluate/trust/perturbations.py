"""The same question asked otherwise: in other words, with one character changed, its choices in other orders.

All are functions of the text and a seed alone.
"""

import random
import string
from collections.abc import Sequence

from experiments.data.sources.biographies import ATTRIBUTES, Person, question

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def wordings(person: Person, attribute: str) -> list[str]:
    """All questions about one fact of the corpus of biographies; the last was kept out of its training."""
    return [question(person, attribute, i).prompt for i in range(len(ATTRIBUTES[attribute].asked))]


def one_character(text: str, seed: int, n: int) -> list[str]:
    """`n` different texts that are one slip away: a letter left out, doubled, replaced by another small one,
    or two neighbours exchanged (Damerau 1964). The same seed gives the first ones of a larger `n`.

    Raises:
      ValueError: the text has not so many.
    """
    rng, made = random.Random(f"one character {seed} {text}"), dict[str, None]()
    for _ in range(50 * n + 50):
        if len(made) == n:
            return list(made)
        changed = _slip(text, rng)
        if changed != text:
            made[changed] = None
    raise ValueError(
        f"{text[:40]!r} has {len(made)} texts one character away, not {n}; ask for fewer (--slips)"
    )


def _slip(text: str, rng: random.Random) -> str:
    """One slip at a letter, if there is one."""
    places = [i for i, sign in enumerate(text) if sign.isalpha()]
    if not places:
        return text
    i, kind = rng.choice(places), rng.randrange(4)
    before, letter, after = text[:i], text[i], text[i + 1 :]
    if kind == 0:
        return before + after
    if kind == 1:
        return before + 2 * letter + after
    if kind == 2:
        return before + rng.choice(string.ascii_lowercase) + after
    return before + after[:1] + letter + after[1:]


def rotations(choices: Sequence[str]) -> list[tuple[str, ...]]:
    """As many orders as choices, the given one first; each choice stands at each place once."""
    return [(*choices[i:], *choices[:i]) for i in range(len(choices))]


def with_choices(prompt: str, choices: Sequence[str]) -> str:
    """The prompt with its choices listed, a line each, as multiple choice is asked; the answer is the text of
    a choice, after a space.

    Raises:
      ValueError: more choices than letters.
    """
    if len(choices) > len(LETTERS):
        raise ValueError(f"{len(choices)} choices; at most {len(LETTERS)} have a letter")
    listed = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices)]
    return "\n".join([prompt, *listed, "Answer:"])
