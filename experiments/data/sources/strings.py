"""Random strings with their copies or reversals: the task of remembering all of a source, in order.

A row is a source and its target in fields of equal width, such as "   abc=cba  ": blanks before the source,
START and the target, and blanks after it. All rows of a corpus have one width, so a window of as many tokens
(`width` times 2) is one row, whose first half an encoder reads as its source (`experiments.training.loss`).
A row begins and ends with a blank: the token after a row, which a window predicts last, is known, too.
"""

import random
import string
from collections.abc import Iterator
from typing import Any

from experiments.data_configs import StringsConfig

START, BLANK = "=", " "
N_ROWS = 102_400
ROWS_PER_DOCUMENT = 64
LICENCE = "made by isoflop"


def width(config: StringsConfig) -> int:
    """Characters of a row's source field, and of its target field."""
    return config.max_length + 2


def draw(rng: random.Random, length: int, n_symbols: int) -> str:
    """`length` symbols, each of the first `n_symbols` letters as often as another."""
    return "".join(rng.choices(string.ascii_lowercase[:n_symbols], k=length))


def target_of(source: str, config: StringsConfig) -> str:
    """The copy or the reversal."""
    return source if config.task == "copy" else source[::-1]


def row(source: str, config: StringsConfig) -> str:
    """The source and its target in fields of `width` characters."""
    n = width(config)
    return f"{source:>{n}}{START + target_of(source, config):<{n}}"


def documents(config: StringsConfig) -> Iterator[bytes]:
    """The corpus: rows of 1 to `max_length` symbols, equally often, without anything between them.

    A document's last blank is left out: the token that ends documents comes in its place, so that rows stay
    whole windows.
    """
    rng = random.Random(0)
    for _ in range(N_ROWS // ROWS_PER_DOCUMENT):
        lengths = [rng.randint(1, config.max_length) for _ in range(ROWS_PER_DOCUMENT)]
        rows = "".join(row(draw(rng, length, config.n_symbols), config) for length in lengths)
        yield rows.removesuffix(BLANK).encode()


def identity(config: StringsConfig) -> dict[str, Any]:
    """What the corpus is made from."""
    return vars(config) | {"rows": N_ROWS, "per_document": ROWS_PER_DOCUMENT, "format": 1}
