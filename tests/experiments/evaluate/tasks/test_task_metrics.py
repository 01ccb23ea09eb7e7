"""From responses to numbers, computed by hand."""

import math

import pytest

from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.task import Item, Task
from tests.experiments.evaluate.answered import answered, choice

CHOICE = Task("t", "multiple_choice", (), (), "")


def test_multiple_choice_by_hand():
    # By sum "é" wins, by character "ccccccc" (-0.6), by byte "ccccccc" too ("é" has two bytes).
    values = task_metrics.item_values(CHOICE, *choice("x", -4, -3, -4.2, right=2))
    assert (values["acc"], values["acc_norm"], values["acc_bytes"]) == (0, 1, 1)
    weights = [math.exp(p) for p in (-4, -3, -4.2)]
    probs = [w / sum(weights) for w in weights]
    assert values["prob"] == pytest.approx(probs[2])
    assert values["brier"] == pytest.approx(probs[0] ** 2 + probs[1] ** 2 + (1 - probs[2]) ** 2)


def test_of_equal_choices_the_first_is_taken():
    assert task_metrics.item_values(CHOICE, *choice("x", -1, -1))["acc"] == 1
    assert task_metrics.item_values(CHOICE, *choice("x", -1, -1, right=1))["acc"] == 0


def test_generated_text_is_compared_without_white_space_at_its_ends():
    task, item = Task("t", "exact_match", (), (), ""), Item("2 + 2 =", "4")
    assert task_metrics.item_values(task, item, {"text": " 4 ", "finish": "stop"}) == {"exact_match": 1}
    assert task_metrics.item_values(task, item, {"text": "4!", "finish": "stop"}) == {"exact_match": 0}


def test_a_difference_takes_the_items_that_both_were_asked():
    a = answered("multiple_choice", choice("1", -1, -2), choice("2", -1, -2), choice("3", -2, -1))
    b = answered("multiple_choice", choice("3", -2, -1), choice("2", -2, -1))
    assert task_metrics.difference(a, b).value == pytest.approx(0.5)
