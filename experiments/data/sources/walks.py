"""Synthetic problems: a walk through a table of transitions, a step a digit: "47923=" and the five states.

States are digits, too. The first is 0, and TABLE, the same for all problems, holds the state that follows a
state and a digit. The last state is the answer: after one error the rest is wrong. Guessing is right once in
ten times, and the right answer follows from the digits.
"""

import random
from collections.abc import Iterator

N_DIGITS = 5
N_TEST = 2000  # problems that the corpus never has
PER_DOCUMENT = 64  # problems, a line each
CHANCE, CEILING = 0.1, 1.0
_DRAW = random.Random(0)
TABLE = [_DRAW.sample(range(10), 10) for _ in range(10)]  # TABLE[state][digit]: every row has every state


def problem(number: int) -> tuple[str, str]:
    """The digits of a number with "=", and the states that they lead to."""
    digits, state, states = f"{number:0{N_DIGITS}d}", 0, ""
    for digit in digits:
        state = TABLE[state][int(digit)]
        states += str(state)
    return f"{digits}=", states


def numbers() -> tuple[list[int], list[int]]:
    """Those of the corpus and those of the test, in an order by chance that is always the same."""
    everything = list(range(10**N_DIGITS))
    random.Random(1).shuffle(everything)
    return everything[N_TEST:], everything[:N_TEST]


def documents() -> Iterator[bytes]:
    """The corpus, a problem a line."""
    training, _ = numbers()
    for first in range(0, len(training), PER_DOCUMENT):
        lines = ("".join(problem(number)) for number in training[first : first + PER_DOCUMENT])
        yield ("\n".join(lines) + "\n").encode()


def identity() -> dict[str, int]:
    """What the corpus is made from."""
    return {"digits": N_DIGITS, "test": N_TEST, "per_document": PER_DOCUMENT, "format": 1}
