"""Sources of known entropy: the closed form, the exact probabilities and the drawn text agree."""

import itertools

import numpy as np
import pytest

from experiments.data.sources import known_entropy as source
from experiments.data.sources.known_entropy import KNOWN_SOURCES

NAMES = sorted(KNOWN_SOURCES)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_exact_probabilities_is_the_entropy(name):
    known = KNOWN_SOURCES[name]
    nats = known.nats(known.draw(np.random.default_rng(7), 20_000))
    assert abs(nats.mean() - known.entropy) < 4 * nats.std() / np.sqrt(len(nats))
    assert known.loss == known.entropy / (known.length + 1)


@pytest.mark.parametrize("name", NAMES)
def test_documents_are_the_same_every_time_and_give_back_their_symbols(name):
    known = KNOWN_SOURCES[name]
    text = list(itertools.islice(source.documents(known), 100))
    assert text == list(itertools.islice(source.documents(known), 100))
    assert {len(document) for document in text} == {known.length}
    assert max(max(document) for document in text) < 128 and min(map(min, text)) > 0
    found = source.symbols(known, text)
    np.testing.assert_array_equal(found, known.draw(np.random.default_rng(0), source.BATCH)[:100])


def test_the_entropy_of_zipf_skills_is_the_prototypes():
    known = KNOWN_SOURCES["zipf_skills"]
    assert known.entropy / known.length == pytest.approx(1.015119, abs=1e-6)
    assert source.entropy_of(source.skill_probabilities()) == pytest.approx(3.144483, abs=1e-6)
    assert source.answer_entropy() == pytest.approx(0.990337, abs=1e-6)


def test_the_probabilities_of_all_answers_to_a_skill_sum_to_its_own():
    right, wrong = source.answer_probabilities()
    assert right + (source.RANGE - 1) * wrong == pytest.approx(1)
    known = KNOWN_SOURCES["zipf_skills"]
    document = known.draw(np.random.default_rng(0), 1)
    others = np.repeat(document, source.RANGE, axis=0)
    others[:, -1] = source.BASE * source.DIGITS + np.arange(source.RANGE)  # every last answer
    total = np.exp(-known.nats(others)).sum()
    without = np.exp(-known.nats(document)[0]) / (
        right if source.skills_of(document)[1][0, -1, -1] else wrong
    )
    assert total == pytest.approx(without)


def test_a_text_that_no_rule_makes_has_no_probability():
    known = KNOWN_SOURCES["grammar"]
    document = known.draw(np.random.default_rng(0), 1)
    never = np.setdiff1d(np.arange(source.SYMBOLS**2), source.pairs_of(source.LONG))[0]
    document[0, :2] = divmod(never, source.SYMBOLS)
    assert known.nats(document)[0] == np.inf


def test_every_pair_is_the_right_side_of_one_rule_at_most():
    for grammar in (source.LONG, source.SHORT):
        assert len(np.unique(source.pairs_of(grammar))) == source.SYMBOLS * grammar.rules


def test_the_chain_never_differs_from_its_law():
    """The most probable symbol comes after any pair as often as the power law says."""
    text = KNOWN_SOURCES["markov"].draw(np.random.default_rng(1), 4000)
    best = source.chain_orders()[text[:, :-2], text[:, 1:-1], 0]
    share = (best == text[:, 2:]).mean()
    assert share == pytest.approx(source.power_law(source.STATES, source.CHAIN_POWER)[0], abs=0.005)
