"""What a filter says of a document, and the views of its text that filters share."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from experiments.data.document import Document

_PARAGRAPHS = re.compile(r"\n[ \t]*\n+")


@dataclass(frozen=True)
class Verdict:
    """Whether a document stays; if not, `reason` says what was found, with its number."""

    keep: bool
    reason: str = ""


KEEP = Verdict(True)
Filter = Callable[[Document], Verdict]  # pure; it may raise ValueError where it cannot judge


def at_most(limit: float, value: float, what: str) -> Verdict:
    """Keeps a document whose value is at most `limit`."""
    return KEEP if value <= limit else Verdict(False, f"{what} {value:.3g} > {limit:g}")


def at_least(limit: float, value: float, what: str) -> Verdict:
    """Keeps a document whose value is at least `limit`."""
    return KEEP if value >= limit else Verdict(False, f"{what} {value:.3g} < {limit:g}")


@functools.lru_cache(maxsize=2)  # the rules of a chain ask one after the other for the same text
def words(text: str) -> list[str]:
    """Words as Gopher counts them: separated by white space, punctuation included."""
    return text.split()


@functools.lru_cache(maxsize=2)
def lines(text: str) -> list[str]:
    """Lines that are not blank, without the white space around them."""
    return [line for line in map(str.strip, text.splitlines()) if line]


@functools.lru_cache(maxsize=2)
def paragraphs(text: str) -> list[str]:
    """What blank lines separate."""
    return [part for part in map(str.strip, _PARAGRAPHS.split(text)) if part]


def fraction(items: list[str], holds: Callable[[str], bool]) -> float:
    """Share of the items of which something holds; 0 of none."""
    return sum(map(holds, items)) / len(items) if items else 0.0
