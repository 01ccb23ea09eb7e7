"""What a model knows: against probabilities computed another way, and models that know all or nothing."""

import dataclasses
import math
import random

import jax
import numpy as np
import pytest

import models
from experiments.data.sources.biographies import ATTRIBUTES, BITS, biography, people, question, records
from experiments.data.vocab import SentencePieceVocab
from experiments.data.vocabularies.words import train_words
from experiments.data_configs import BiographiesConfig
from experiments.evaluate.tasks.loglikelihood import encode_pair, score_all
from experiments.evaluate.trust import knowledge
from models import ladder
from tests.experiments.evaluate.answered import untrained

CONFIG = BiographiesConfig(n_people=40, exposures=(2,), source=True)
PEOPLE = people(CONFIG)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """An untrained model whose vocabulary has every word of the corpus."""
    pools = " ".join(f"{value}. {value}" for each in ATTRIBUTES.values() for value in each.pool)
    texts = [f"x {pools}", *(document.text for document in records(CONFIG))]
    path = tmp_path_factory.mktemp("vocab") / "vocab.model"
    path.write_bytes(train_words(texts, 588))
    vocab = SentencePieceVocab(path)
    model = models.build(ladder(16, 588))
    params = jax.jit(model.init)(jax.random.key(0))
    return dataclasses.replace(untrained(), model=model, params=params, vocab=vocab)


@pytest.mark.parametrize("wording", knowledge.WORDINGS)
def test_a_fact_has_the_probability_that_its_continuation_has(asked, wording):
    """Of all values of three facts: the text up to the fact, scored by the code behind tasks."""
    found = knowledge.fact_log_probabilities(asked, PEOPLE[:3], wording, seed=4, source="Book:")
    person = PEOPLE[1]
    text = biography(person, random.Random(f"asked 4 {person.name}"), held_out=wording == "held_out")
    for name, attribute in ATTRIBUTES.items():
        before = f"Book: {text}".split(f" {person.facts[name]}.")[0]
        before = question(person, name).prompt if wording == "question" else before
        rows = [encode_pair(asked.vocab, before, f" {value}") for value in attribute.pool]
        assert {len(row.continuation) for row in rows} == {1}
        alone = [each.logprob for each in score_all(asked.model, asked.params, rows)]
        np.testing.assert_allclose(found[name][1], alone, atol=1e-5)


@pytest.mark.slow
def test_values_of_several_tokens_have_the_product_of_their_probabilities():
    bytewise = untrained()
    pool, prompt = ATTRIBUTES["month"].pool, question(PEOPLE[0], "month").prompt
    found = {"month": np.empty((1, len(pool)))}
    places = [knowledge.Place(0, "month", prompt)]
    knowledge._value_by_value(bytewise, places, {"month": list(pool)}, found)
    tokens = [[1, *bytewise.vocab.encode(f"{prompt} {value}.")] for value in pool]
    n_before = 1 + len(bytewise.vocab.encode(prompt))
    for row, logprob in zip(tokens, found["month"][0], strict=True):
        logits = bytewise.model.apply(bytewise.params, np.array([row[:-1]]))[0]
        of_tokens = jax.nn.log_softmax(logits)[np.arange(len(row) - 1), np.array(row[1:])]
        assert math.isclose(float(of_tokens[n_before - 1 :].sum()), logprob, rel_tol=1e-4)


def planted(share: float) -> dict[str, np.ndarray]:
    """Log-probabilities of a model that has `share` on the true value and the rest on all values evenly."""
    found = {}
    for name, attribute in ATTRIBUTES.items():
        true = np.array([[value == person.facts[name] for value in attribute.pool] for person in PEOPLE])
        found[name] = np.log(share * true + (1 - share) / len(attribute.pool))
    return found


def test_who_knows_all_has_learnt_all_bits_and_who_guesses_none():
    everything = planted(1 - 1e-12)
    np.testing.assert_allclose(knowledge.learnt_bits(everything, PEOPLE).sum(axis=1), BITS, rtol=1e-6)
    assert knowledge.accuracy(everything, PEOPLE).all()
    np.testing.assert_allclose(knowledge.learnt_bits(planted(0), PEOPLE), 0, atol=1e-9)


def test_half_the_probability_is_worth_a_bit_less():
    half = knowledge.learnt_bits(planted(0.5), PEOPLE)
    lost = [math.log2(0.5 + 0.5 / len(each.pool)) for each in ATTRIBUTES.values()]
    np.testing.assert_allclose(half.sum(axis=1), BITS + sum(lost), rtol=1e-6)
    elsewhere = {name: each + math.log(0.25) for name, each in planted(0.5).items()}
    np.testing.assert_allclose(knowledge.learnt_bits(elsewhere, PEOPLE), half - 2)
    np.testing.assert_allclose(knowledge.learnt_bits(elsewhere, PEOPLE, normalised=True), half, atol=1e-9)


def test_bits_of_names_are_those_of_the_name_behind_the_first_words(asked):
    bits = knowledge.learnt_name_bits(asked, PEOPLE[:2])
    [one] = score_all(
        asked.model, asked.params, [encode_pair(asked.vocab, "The home of", f" {PEOPLE[1].name}")]
    )
    assert math.isclose(bits[1], 13 + one.logprob / math.log(2), rel_tol=1e-5)


def test_parameters_of_tokens_that_never_occur_are_left_out():
    for tied in (False, True):
        config = dataclasses.replace(ladder(16, 588), tied_embeddings=tied)
        smaller = dataclasses.replace(config, vocab_size=332)
        used = knowledge.used_parameters(models.count(config), 16, 256, tied)
        assert used == models.count(smaller).n_total


def test_an_unknown_wording_is_refused(asked):
    with pytest.raises(ValueError, match="wording='spoken'; allowed are trained, held_out, question"):
        knowledge.fact_log_probabilities(asked, PEOPLE, "spoken")
