"""Consistency: values by hand, and estimates whose mean over all samples is what they estimate."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.sources import biographies
from experiments.data_configs import BiographiesConfig
from experiments.evaluate.trust import consistency, perturbations

ANSWERS = ("yes", "yes", "no", "yes")


def test_by_hand():
    assert consistency.agreement(ANSWERS) == 3 / 6
    assert consistency.modal(ANSWERS) == "yes" and consistency.modal_share(ANSWERS) == 3 / 4
    assert consistency.flips(ANSWERS, "no") == 3 / 4
    plugged_in = -(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))
    assert consistency.answer_entropy(ANSWERS) == pytest.approx(plugged_in + 1 / 8)
    assert consistency.agreement_between(ANSWERS, ("no", "yes")) == (3 + 1) / 8
    assert consistency.paraphrase_agreement([ANSWERS, ("no",), ("yes",)]) == pytest.approx(
        (1 / 4 + 3 / 4) / 3
    )
    with pytest.raises(ValueError, match="1 answer"):
        consistency.agreement(["yes"])
    with pytest.raises(ValueError, match="give a paraphrase"):
        consistency.paraphrase_agreement([ANSWERS])


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=3), st.integers(2, 4))
def test_agreement_is_unbiased_over_all_samples(weights, n):
    p = [weight / sum(weights) for weight in weights]
    mean = sum(
        math.prod(p[i] for i in drawn) * consistency.agreement([str(i) for i in drawn])
        for drawn in itertools.product(range(len(p)), repeat=n)
    )
    assert mean == pytest.approx(sum(share**2 for share in p))


def test_what_counts_as_the_same_answer():
    same = {consistency.normalised(text) for text in (" New  York.", "New York", "New York .\n", "New York!")}
    assert same == {"New York"}
    assert consistency.normalised("new york") != consistency.normalised("New York")
    assert consistency.normalised("e\u0301") == consistency.normalised("\u00e9")


def test_order_effects_of_who_reads_and_of_who_takes_the_first():
    orders = perturbations.rotations(["a", "b", "c", "d"])
    assert all({order[i] for order in orders} == set("abcd") for i in range(4))
    reader = consistency.order_effects(dict.fromkeys(orders, "c"))
    assert reader == {"agreement": 1.0, "first": 0.25, "bias": 0.0}
    first = consistency.order_effects({order: order[0] for order in orders})
    assert first == {"agreement": 0.0, "first": 1.0, "bias": 0.75}
    with pytest.raises(ValueError, match="none of the choices"):
        consistency.order_effects({order: "e" for order in orders})


def _is_one_slip(text: str, slip: str) -> bool:
    """Whether the texts are equal but for one letter more, less, other, or exchanged with its neighbour."""
    start = next((i for i, (a, b) in enumerate(zip(text, slip)) if a != b), min(len(text), len(slip)))
    a, b = text[start:], slip[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


@given(st.text("abc d", min_size=3, max_size=12).filter(lambda text: text.strip()), st.integers(0, 5))
def test_slips_are_one_character_away_and_the_same_each_time(text, seed):
    slips = perturbations.one_character(text, seed, 3)
    assert len({text, *slips}) == 4 and all(_is_one_slip(text, slip) for slip in slips)
    assert perturbations.one_character(text, seed, 4)[:3] == slips


def test_a_text_without_letters_has_no_slips():
    with pytest.raises(ValueError, match="has 0 texts one character away"):
        perturbations.one_character("12?", 0, 1)


def test_wordings_ask_for_the_same_fact():
    person = biographies.people(BiographiesConfig(n_people=1))[0]
    asked = perturbations.wordings(person, "city")
    assert len(set(asked)) == 3 and all(person.name in each for each in asked)
    assert asked[-1] == biographies.question(person, "city").prompt
    assert perturbations.with_choices("A?", ["x", "y"]) == "A?\nA. x\nB. y\nAnswer:"
