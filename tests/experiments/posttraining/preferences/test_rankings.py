"""Rankings as pairs, by hand and in general; cycles."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.posttraining.preferences.rankings import (
    consistent_pairs,
    find_cycle,
    pairs_of,
    parse_ranking,
    ties_of,
)


def test_three_items_make_three_pairs():
    ranking = parse_ranking("A > B > C")
    assert pairs_of(ranking) == [("A", "B"), ("A", "C"), ("B", "C")]
    assert ties_of(ranking) == []


def test_ties_make_no_pairs_among_themselves():
    ranking = parse_ranking(" A=B > C = D > E")
    assert ranking == (("A", "B"), ("C", "D"), ("E",))
    assert set(pairs_of(ranking)) == {(x, y) for x, y in itertools.product("AB", "CDE")} | {
        ("C", "E"),
        ("D", "E"),
    }
    assert ties_of(ranking) == [("A", "B"), ("C", "D")]


@given(st.permutations("ABCDEF"), st.lists(st.booleans(), min_size=5, max_size=5))
def test_every_two_items_are_a_pair_or_a_tie_and_never_a_cycle(order, equal):
    signs = [" = " if same else " > " for same in equal]
    ranking = parse_ranking("".join(itertools.chain(*itertools.zip_longest(order, signs, fillvalue=""))))
    pairs, ties = pairs_of(ranking), ties_of(ranking)
    assert sorted(map(sorted, pairs + ties)) == [list(two) for two in itertools.combinations("ABCDEF", 2)]
    assert all(order.index(better) < order.index(worse) for better, worse in pairs)
    assert consistent_pairs([ranking, ranking]) == pairs and not find_cycle(pairs, ties)


@pytest.mark.parametrize(
    ("rankings", "cycle"),
    [
        (["A > B", "B > C", "C > A"], "ABC"),
        (["A > B > C", "C > D", "D > B"], "BCD"),
        (["A = B", "A > B"], "A"),
        (["A = B", "B = C", "A > D", "D > C"], "AD"),
    ],
)
def test_cycles_are_refused_and_named(rankings, cycle):
    with pytest.raises(ValueError, match="is a cycle") as error:
        consistent_pairs([parse_ranking(ranking) for ranking in rankings])
    named = str(error.value).removeprefix("rankings: ").split(" is a cycle")[0].split(" > ")
    assert set(named) == set(cycle) and named[0] == named[-1] and len(named) == len(cycle) + 1
    if len(cycle) == 3:  # in its direction
        said = {pair for ranking in rankings for pair in pairs_of(parse_ranking(ranking))}
        assert set(itertools.pairwise(named)) <= said


@pytest.mark.parametrize(
    ("text", "message"),
    [("A > ", "a name is missing"), ("", "a name is missing"), ("A > B > A", "'A' is there")],
)
def test_rankings_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        parse_ranking(text)
