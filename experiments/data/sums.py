"""Problems made here: digits and their running sums modulo 10, "47923=41025", a step for each digit.

The last digit is the answer. Whoever writes the steps only ever adds two digits; whoever errs once is wrong
from there on. Guessing is right once in ten times, and the right answer follows from the digits.
"""

import random
from collections.abc import Iterator

N_DIGITS = 5
N_TEST = 2000  # problems that the corpus never has
PER_DOCUMENT = 64  # problems, a line each
CHANCE, CEILING = 0.1, 1.0


def problem(number: int) -> tuple[str, str]:
    """The digits with "=", and the running sums; `number` is what the digits make, up to N_DIGITS of them."""
    digits, total, sums = f"{number:0{N_DIGITS}d}", 0, ""
    for digit in digits:
        total = (total + int(digit)) % 10
        sums += str(total)
    return f"{digits}=", sums


def numbers() -> tuple[list[int], list[int]]:
    """Those of the corpus and those of the test, in an order by chance that is always the same."""
    everything = list(range(10**N_DIGITS))
    random.Random(0).shuffle(everything)
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
