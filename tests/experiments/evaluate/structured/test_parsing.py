"""What is valid and right by hand, and what importance weights say of constrained answers."""

import numpy as np
import pytest

from experiments.data.sources.queries import Question
from experiments.evaluate.structured.parsing import Answers, bias, first_questions, graded, mended, same
from models.decoding.constraints.constrained_sampling import ConstrainedSample

ASKED = Question("how many red things over 5 are there?", {"ask": "count", "color": "red", "weight": ">5"})


def test_an_answer_is_valid_right_or_right_in_one_field():
    said = [
        '{"ask": "count", "color": "red", "weight": ">5"}',
        '{"weight": ">=6", "color": "red", "ask": "count"}',  # the same of whole numbers, another relation
        '{"ask": "total", "color": "blue", "weight": ">1"}',
        '{"ask": "count", "color": "red", "weight": ">5"',
    ]
    grades = graded([ASKED], Answers([said], 0.0, 0.0, 0.0))
    assert grades["valid"].tolist() == [[1, 1, 1, 0]]
    assert grades["right"].tolist() == [[1, 1, 0, 0]]
    assert grades["label"].tolist() == [[1, 0, 1, 0]]
    assert same(None, ASKED.query, []) is False


def test_right_is_of_every_table():
    """Two queries that agree on one table and not on another."""
    one, other = {"ask": "count"}, {"ask": "count", "color": "red"}
    red, both = [("red", "box", 1)], [("red", "box", 1), ("blue", "box", 1)]
    assert same(one, other, [red]) and not same(one, other, [red, both])


def sample(log_weight: float, finish: str = "eos") -> ConstrainedSample:
    return ConstrainedSample("", (1,), (0.0,), (0.0,), (0.0,), finish, True, log_weight)  # type: ignore


def test_weights_say_what_the_model_itself_would_have_said():
    """Of the model's valid answers 0.3 are right and 0.1 wrong; the sampler draws either half of the time."""
    samples = [[sample(np.log(0.6)), sample(np.log(0.2))]]
    found = bias(samples, np.array([[1.0, 0.0]]))
    assert found["allowed"] == pytest.approx(0.4)
    assert found["weighted"] == pytest.approx(0.75) and found["bias"] == pytest.approx(-0.25)
    assert found["worth"] == pytest.approx(1 / (0.75**2 + 0.25**2) / 2)


def test_answers_that_did_not_end_weigh_nothing():
    samples = [[sample(0.0), sample(0.0, "length")], [sample(0.0, "length"), sample(0.0, "length")]]
    found = bias(samples, np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert found["allowed"] == 0.25 and found["weighted"] == 1.0 and found["bias"] == -0.5


def test_mending_keeps_the_answers_in_place_and_takes_time():
    said = Answers([["a", "b"], ["c", "d"]], 3.0, 2.0, 0.5)
    found = mended(said, str.upper)
    assert found.texts == [["A", "B"], ["C", "D"]]
    assert (found.prompt_tokens, found.tokens) == (3.0, 2.0) and found.seconds > 0.5


def test_the_first_questions_of_a_seed_are_the_same_ones():
    assert first_questions(3, "validation", 4) == first_questions(3, "validation", 9)[:4]
