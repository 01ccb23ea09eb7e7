"""Rankings as pairs: A > B = C says A > B and A > C, and nothing of B and C that a loss could be of."""

import graphlib
import itertools
from collections.abc import Iterable, Sequence

Ranking = tuple[tuple[str, ...], ...]  # items from best to worst, those that are equally good together
Pair = tuple[str, str]  # better, worse


def parse_ranking(text: str) -> Ranking:
    """ "A > B = C" as (("A",), ("B", "C")).

    Raises:
      ValueError: an empty name, or an item that is there twice: as A > B > A, a cycle.
    """
    ranking = tuple(tuple(name.strip() for name in tier.split("=")) for tier in text.split(">"))
    names = [name for tier in ranking for name in tier]
    if not all(names):
        raise ValueError(f"ranking {text!r}: a name is missing; write 'A > B = C'")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"ranking {text!r}: {twice[0]!r} is there twice; a ranking has each item once")
    return ranking


def pairs_of(ranking: Ranking) -> list[Pair]:
    """Every (better, worse) that a ranking says: three of A > B > C; equally good items make none."""
    return [
        pair
        for better, worse in itertools.combinations(ranking, 2)
        for pair in itertools.product(better, worse)
    ]


def ties_of(ranking: Ranking) -> list[Pair]:
    """The pairs of items that a ranking calls equally good."""
    return [pair for tier in ranking for pair in itertools.combinations(tier, 2)]


def consistent_pairs(rankings: Sequence[Ranking]) -> list[Pair]:
    """The pairs of several rankings of the same items by one annotator, each once.

    Raises:
      ValueError: together they say that an item is better than itself: which cycle.
    """
    pairs = list(dict.fromkeys(pair for ranking in rankings for pair in pairs_of(ranking)))
    if cycle := find_cycle(pairs, [pair for ranking in rankings for pair in ties_of(ranking)]):
        raise ValueError(f"rankings: {' > '.join(cycle)} is a cycle; leave one of its comparisons out")
    return pairs


def find_cycle(pairs: Iterable[Pair], ties: Iterable[Pair] = ()) -> list[str]:
    """Items each better than the next one, the last being the first; [] if there is no such cycle.

    Items that are equally good count as one: with A = B, A > B is a cycle, too.
    """
    same: dict[str, str] = {}

    def leader(name: str) -> str:
        while name in same:
            name = same[name]
        return name

    for one, other in ties:
        if leader(one) != leader(other):
            same[leader(other)] = leader(one)
    worse: dict[str, set[str]] = {}
    for one, other in pairs:
        worse.setdefault(leader(one), set()).add(leader(other))
    try:
        graphlib.TopologicalSorter(worse).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []
