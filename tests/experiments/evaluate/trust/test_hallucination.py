"""Made-up answers, of models whose every probability is written down."""

from pathlib import Path

import numpy as np
import pytest

from experiments.data.vocab import ByteVocab
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.trust import hallucination
from experiments.evaluate.trust.hallucination import CATEGORIES, Chain

REGION_OF = {"Ab": "North", "Ba": "North", "Ca": "South"}


def logs(*rows):
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, float))


def test_what_is_stated_and_false_is_invented():
    found = hallucination.made_up(logs([0.5, 0.25, 0.0], [0.1, 0.2, 0.6]), np.array([0, 1]))
    assert found["nats"] == pytest.approx([np.log(2), np.log(5)])
    assert found["wrong"].tolist() == [0, 1]
    assert found["invented"] == pytest.approx([0.25, 0.7])
    assert found["stated"] == pytest.approx([0.75, 0.9])


def test_the_rate_of_singletons_is_over_examples():
    """Three of ten examples are about somebody who occurs once."""
    assert hallucination.singleton_rate([1, 1, 1, 2, 5]) == pytest.approx(0.3)
    assert hallucination.singleton_rate({"a": 4}) == 0


def test_samples_have_the_probabilities_of_values():
    drawn = hallucination.sample(logs([0.1, 0.2, 0.3], [0.0, 1.0, 0.0]), 20_000, 0)
    shares = np.bincount(drawn[0], minlength=3) / 20_000
    assert shares == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.015)
    assert set(drawn[1]) == {1}


def test_each_category_of_knowledge():
    always, sometimes, by_chance, never = [0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.0, 1.0]
    first = logs(always, sometimes, by_chance, never)
    second = logs(always, by_chance, by_chance, never)
    found = hallucination.categories(np.stack([first, second]), np.zeros(4, int), 50, 0)
    assert [CATEGORIES[kind] for kind in found] == list(CATEGORIES)


def snowballs(monkeypatch, answers):
    """Of someone who lives in Ca, which is in the South; `answers` of prompts, of cities or regions."""

    def logps(loaded, prompts, values):
        return logs(*([answers(prompt).get(value, 0.0) for value in values] for prompt in prompts))

    monkeypatch.setattr(hallucination, "answer_logps", logps)
    chain = Chain("Al lives in", "Al has a house in", "Al comes from", "Ca")
    loaded: LoadedModel = None  # type: ignore[assignment]
    return hallucination.snowballing(loaded, [chain], REGION_OF, 40, 0)


def believes(prompt):
    """It errs about the city, knows it when asked otherwise, and follows what was said before."""
    if prompt == "Al lives in":
        return {"Ab": 0.5, "Ca": 0.5}
    if prompt == "Al has a house in":
        return {"Ab": 0.2, "Ca": 0.8}
    return {"North": 0.75, "South": 0.25} if "Ab." in prompt else {"North": 0.1, "South": 0.9}


def test_a_mistake_that_follows_from_a_mistake_is_known_when_asked_apart(monkeypatch):
    found = snowballs(monkeypatch, believes)
    assert 10 < len(found["chain"]) < 30, "half of the answers are wrong"
    expected = {
        "after_own": 0.75,
        "after_truth": 0.1,
        "alone": 0.1,
        "repeated": 1,
        "recognised": 1,
        "doubted": 1,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_who_keeps_to_the_mistake_when_asked_apart_does_not_recognise_it(monkeypatch):
    def stubborn(prompt):
        return {"Ba": 0.9, "Ca": 0.1} if "in" in prompt.split()[-1] else {"North": 0.9, "South": 0.1}

    found = snowballs(monkeypatch, stubborn)
    assert set(found["recognised"]) == {0} and set(found["doubted"]) == {0}
    assert found["after_own"] == pytest.approx(0.9) and found["alone"] == pytest.approx(0.9)


def test_values_of_several_tokens_are_refused():
    loaded = LoadedModel(Path(), None, None, None, ByteVocab())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of them is several tokens"):
        hallucination.answer_logps(loaded, ["Al lives in"], ("Ab", "Ba"))
