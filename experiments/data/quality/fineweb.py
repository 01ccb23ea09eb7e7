"""The rules that FineWeb adds to C4's and Gopher's: Penedo et al. 2024 (arXiv 2406.17557), section 3.6.

Chosen there by how they differ between good and bad crawls. Its rule for repeated lines is Gopher's
`duplicate_lines` with a lower limit.
"""

from experiments.data.document import Document
from experiments.data.quality.c4 import TERMINAL
from experiments.data.quality.verdict import Verdict, at_least, at_most, fraction, lines


def line_punctuation(document: Document) -> Verdict:
    """At least 12 % of the lines end with an end mark."""
    share = fraction(lines(document.text), lambda line: line.endswith((*TERMINAL, "'", "’")))
    return at_least(0.12, share, "share of lines with an end mark")


def short_lines(document: Document) -> Verdict:
    """At most 67 % of the lines are shorter than 30 characters."""
    share = fraction(lines(document.text), lambda line: len(line) < 30)
    return at_most(0.67, share, "share of short lines")


def duplicate_characters(document: Document) -> Verdict:
    """At most 10 % of the characters are in lines that repeat an earlier one."""
    found = lines(document.text)
    seen: set[str] = set()
    again = sum(len(line) for line in found if line in seen or seen.add(line))
    share = again / max(1, sum(map(len, found)))
    return at_most(0.1, share, "share of characters in repeated lines")


RULES = {
    "line_punctuation": line_punctuation,
    "short_lines": short_lines,
    "duplicate_characters": duplicate_characters,
}
