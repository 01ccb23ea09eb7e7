"""What a filter says of a document, and the views of its text that filters share."""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.data.document import Document

_PARAGRAPHS = re.compile(r"\n[ \t]*\n+")


@dataclass(frozen=True)
class Score:
    """What a filter measured of a document; it stays from `least` to `most`."""

    what: str
    value: float
    least: float = -math.inf
    most: float = math.inf


@dataclass(frozen=True)
class Verdict:
    """Whether a document stays; if not, `reason` says what was found, with its number. `score` is that number
    where there is one, whatever the verdict."""

    keep: bool
    reason: str = ""
    score: Score | None = field(default=None, compare=False)


KEEP = Verdict(True)
Filter = Callable[[Document], Verdict]  # pure; it may raise ValueError where it cannot judge


def within(least: float, most: float, value: float, what: str) -> Verdict:
    """Keeps a document whose value is in a range.

    Args:
      least, most: the range, its ends included.
      value: of the document.
      what: the value is.
    """
    score = Score(what, value, least, most)
    if value < least:
        return Verdict(False, f"{what} {value:.3g} < {least:g}", score)
    return (
        Verdict(True, "", score) if value <= most else Verdict(False, f"{what} {value:.3g} > {most:g}", score)
    )


def at_most(limit: float, value: float, what: str) -> Verdict:
    """Keeps a document whose value is at most `limit`."""
    return within(-math.inf, limit, value, what)


def at_least(limit: float, value: float, what: str) -> Verdict:
    """Keeps a document whose value is at least `limit`."""
    return within(limit, math.inf, value, what)


def all_at_most(what: str, limits: dict[str, tuple[float, float]]) -> Verdict:
    """Keeps a document of which several values, name -> (value, limit), are each at most its limit.

    The score is the largest value as a multiple of its limit; `what` says what they are together.
    """
    reasons = [f"{name} {value:.3g} > {limit:g}" for name, (value, limit) in limits.items() if value > limit]
    worst = max(value / limit for value, limit in limits.values())
    score = Score(f"{what}, over its limit", worst, most=1.0)
    return Verdict(not reasons, reasons[0] if reasons else "", score)


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
