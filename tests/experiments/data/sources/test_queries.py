"""The query language by hand, what its executor answers, and that text, pattern and schema are at one."""

import itertools
import json
import random
import re

import jsonschema
import pytest

from experiments.data.sources import queries
from experiments.data.sources.queries import Question, execute, is_held_out, label, parse, questions, written

THINGS = [("red", "box", 7), ("red", "box", 3), ("blue", "box", 9), ("red", "jar", 5)]


def first(n: int, seed: int = 0, split: str = "train") -> list[Question]:
    return list(itertools.islice(questions(seed, split), n))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"ask": "count"}, 4),
        ({"ask": "count", "color": "red", "kind": "box", "weight": ">3"}, 1),
        ({"ask": "count", "color": "red", "weight": ">=3"}, 3),
        ({"ask": "total", "kind": "box", "weight": "<=7"}, 10),
        ({"ask": "heaviest", "color": "red"}, 7),
        ({"ask": "lightest", "weight": "=5"}, 5),
        ({"ask": "lightest", "color": "green"}, None),
        ({"ask": "any", "kind": "jar", "weight": "<5"}, 0),
        ({"ask": "any", "kind": "jar"}, 1),
    ],
)
def test_queries_are_answered_as_by_hand(query, answer):
    assert execute(query, THINGS) == answer


def test_only_json_of_the_schema_is_a_query():
    assert parse('{"color": "red", "ask": "any"}') == {"ask": "any", "color": "red"}
    for text in (
        *("", "{", "[]", '{"color": "red"}', '{"ask": "any", "size": "big"}', '{"ask": "any"} so'),
        *("{'ask': 'any'}", '{"ask": "any", "weight": ">10"}', '{"ask": ["any"]}', '{"ask": "any",}'),
    ):
        assert parse(text) is None, text


def test_pattern_schema_and_parser_agree_on_every_question():
    validator = jsonschema.Draft202012Validator(queries.SCHEMA)
    for question in first(300):
        text = written(question.query, "json", random.Random(0))
        assert re.fullmatch(queries.PATTERN, text) and validator.is_valid(json.loads(text))
        assert parse(text) == question.query
        assert not re.fullmatch(queries.PATTERN, text[:-1]) and parse(text[:-1]) is None
        for form in set(queries.FORMS) - {"json"}:
            assert all(x in written(question.query, form, random.Random(1)) for x in question.query.values())
    assert {label(question.query) for question in first(300)} == set(queries.LABELS)


def test_held_out_questions_are_in_no_page_and_the_first_ones_stay_the_same():
    """One in ten, by its hash: what is asked of the held-out ones was never read."""
    pages = list(itertools.islice(queries.documents(), 200))
    held_out = first(200, split="validation")
    lines = {line.strip() for page in pages for line in page.decode().splitlines()}
    assert not lines & {question.text for question in held_out}
    assert all(is_held_out(question.text) for question in held_out)
    assert not any(is_held_out(question.text) for question in first(200, seed=3))
    assert first(5) == first(200)[:5] != first(5, seed=1)
    assert pages == list(itertools.islice(queries.documents(), 200))
    assert 0.05 < sum(is_held_out(f"{i}") for i in range(2000)) / 2000 < 0.15
    with pytest.raises(ValueError, match="split='test'"):
        next(questions(0, "test"))


def test_a_page_keeps_to_one_form_and_its_lines_begin_with_a_space():
    """So no subword reaches from one line into the next, and a query begins as a page's queries do."""
    for page in itertools.islice(queries.documents(), 50):
        lines = page.decode().split(queries.LINE)[:-1]
        assert len(lines) >= 2 * queries.PAIRS_A_PAGE and all(line.startswith(" ") for line in lines[1:])
        forms = {line.strip()[0] == "{" for line in lines if ":" in line or "(" in line or "select" in line}
        assert len(forms) == 1
