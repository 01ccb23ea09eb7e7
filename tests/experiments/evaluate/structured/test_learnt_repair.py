"""Rules of repair by hand, and that they mend habits which they were not told of."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.sources import queries
from experiments.evaluate.structured.learnt_repair import (
    Rule,
    apply,
    apply_rule,
    best_rule,
    learn,
    lexemes,
    places,
)


def test_a_rule_applies_where_its_contexts_are_and_not_to_what_it_wrote():
    rule = Rule(None, ("a",), "b", ("a", "a"))
    assert apply_rule(rule, ("a", "b", "a", "a", "b")) == ("a", "a", "b", "a", "a", "a", "b")
    assert list(places(Rule("", ("a",), None, ()), ("a", "a"))) == [0]  # at the start of the text
    assert apply_rule(Rule("}", (), "\0", ("!",)), ("}", "}")) == ("}", "}", "!")  # put in at its end


def test_the_best_rule_is_the_one_that_mends_most_more_than_it_breaks():
    """x -> y is wanted three times and not once; behind a, always: of equals the more special one."""
    said, goals = (
        [tuple("ax"), tuple("ax"), tuple("bx"), tuple("cx")],
        [("a", "y"), ("a", "y"), ("b", "y"), ("c", "x")],
    )
    assert best_rule(said, goals, 1) == Rule("a", ("x",), "\0", ("y",), 2, 0)
    assert best_rule(said, goals, 3) is None
    assert best_rule([*said, ("d", "x")], [*goals, ("d", "y")], 2).mended == 4


def test_what_is_right_is_left_alone_and_rules_are_the_same_every_time():
    texts = [f'{{"ask": "{word}"}}' for word in ("any", "count", "total")]
    assert learn(texts, texts) == []
    spoilt = [text.replace('"', "'") for text in texts]
    rules = learn(spoilt, texts)
    assert rules == learn(spoilt, texts) and [apply(rules, text) for text in spoilt] == texts
    with pytest.raises(ValueError, match="3 texts for 2"):
        learn(texts, texts[:2])


def test_habits_of_one_writer_are_mended_on_texts_that_were_not_seen():
    """Queries by hand in one habit: learnt from 100, another 50 all become JSON with the same content."""
    asked = queries.questions(0, "train")
    drawn = [next(asked).query for _ in range(150)]
    for habit in range(6):
        said = [queries.written(query, "by_hand", random.Random(habit)) for query in drawn]
        rules = learn(said[:100], [queries.written(query, "json", random.Random()) for query in drawn[:100]])
        assert [queries.parse(apply(rules, text)) for text in said[100:]] == drawn[100:]


@given(st.text(string.printable, max_size=40))
def test_lexemes_are_the_text(text):
    assert "".join(lexemes(text)) == text
