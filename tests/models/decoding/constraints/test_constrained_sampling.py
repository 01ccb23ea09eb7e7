"""Constrained sampling: every text is valid, and its probabilities are what they are said to be."""

import itertools
import json
import math
from pathlib import Path

import hypothesis
import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest
from hypothesis import given

import models
from models import ladder
from models.decoding.constraints.constrained_sampling import importance_weights, sample_constrained
from models.decoding.constraints.masks import Vocabulary, choice, grammar, json_schema, regex
from models.decoding.settings import SamplingSettings
from tests.models.decoding.made_schemas import SCHEMAS
from tests.models.decoding.test_sample import bigram_model
from tests.tiers import slow_but

EOS = 1
BYTES = [b"", b"", b""] + [bytes([i]) for i in range(256)]
VOCABULARY = Vocabulary(BYTES, EOS)
BIGRAM = bigram_model(259)
UNTRAINED = jax.random.normal(jax.random.key(0), (259, 259))
GOLDEN = [json.loads(line) for line in Path("tests/data/schemas.jsonl").read_text().splitlines()]


def ask(constraints, table=UNTRAINED, seed=0, settings=SamplingSettings(), model=BIGRAM, **more):  # noqa: B008
    """Samples after a prompt of one EOS for each constraint, with seeds that count up."""
    seeds = [seed + i for i in range(len(constraints))]
    return sample_constrained(model, table, [[EOS]] * len(constraints), seeds, settings, constraints, **more)


def valid(text: str, schema) -> None:
    jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator)


def test_an_untrained_model_writes_valid_documents_of_every_golden_schema():
    model = models.build(ladder(16, 259))
    params = jax.jit(model.init)(jax.random.key(0))
    constraints = [json_schema(one["schema"], VOCABULARY) for one in GOLDEN]
    for one, samples in zip(GOLDEN, ask(constraints, params, model=model, n=2, max_tokens=2000)):
        for got in samples:
            assert (got.finish, got.complete, got.tokens[-1]) == ("eos", True, EOS)
            valid(got.text, one["schema"])


@hypothesis.settings(deadline=None, max_examples=12, derandomize=True, database=None)
@given(SCHEMAS)
def test_an_untrained_model_writes_valid_documents_of_made_schemas(schema):
    [samples] = ask([json_schema(schema, VOCABULARY)], n=4, max_tokens=8000)
    for got in samples:
        assert got.finish == "eos"
        valid(got.text, schema)


def test_other_constraints_hold():
    arithmetic = 'start: sum\nsum: term (("+" | "-") term)*\nterm: /[0-9]/ | "(" sum ")"'
    constraints = [
        regex("[a-f]{2}/(x|yy)", VOCABULARY),
        choice(["red", "green", "größer"], VOCABULARY),
        grammar(arithmetic, VOCABULARY),
        grammar('root ::= "<" root ">" | [a-z]', VOCABULARY),
    ]
    one, two, three, four = ask(constraints, n=8, max_tokens=400)
    for got in one:
        assert len(got.text) in (4, 5) and set(got.text[:2]) <= set("abcdef") and got.text[3:] in ("x", "yy")
    assert {got.text for got in two} == {"red", "green", "größer"}
    for got in three:
        assert set(got.text) <= set("0123456789+-()") and isinstance(eval(got.text), int)
    for got in four:
        depth = len(got.text) // 2
        assert got.text[:depth] == "<" * depth and got.text[depth + 1 :] == ">" * depth


def test_weighted_samples_are_the_models_own_valid_texts():
    spelled = Vocabulary([*BYTES, b"ab", b"ba"], EOS)
    texts, n = ["ab", "aab", "b", "bab"], 4000
    table = jax.random.normal(jax.random.key(3), (261, 261)) * 2
    samples = ask([choice(texts, spelled)], table, model=bigram_model(261), n=n, max_tokens=9, width=n)[0]
    logprobs = np.asarray(jax.nn.log_softmax(table), np.float64)
    truth = {
        (*tokens, EOS): sum(logprobs[a, b] for a, b in itertools.pairwise((EOS, *tokens, EOS)))
        for length in (1, 2, 3)
        for tokens in itertools.product([3 + ord("a"), 3 + ord("b"), 259, 260], repeat=length)
        if spelled.said(tokens).decode() in texts
    }
    for got in samples:
        assert got.text.encode() == spelled.said(got.tokens)
        assert sum(got.logprobs) == pytest.approx(truth[got.tokens], abs=1e-4)
        assert got.log_weight == pytest.approx(sum(got.allowed_logmass), abs=1e-4)
    total = np.logaddexp.reduce(list(truth.values()))
    weights = importance_weights(samples)
    drawn, far = np.array([samples.index(got) for got in samples]), []
    for tokens, logprob in truth.items():
        hits, exact = np.array([got.tokens == tokens for got in samples]), math.exp(logprob - total)
        error = np.sqrt(np.sum(weights**2 * (hits - exact) ** 2))
        assert weights @ hits == pytest.approx(exact, abs=5 * error + 1e-3)
        far.append(abs(hits.mean() - exact))
    assert len(drawn) == n and max(far) > 0.05  # unweighted, the bias is there
    # The mean of the weights estimates how likely the model is to write something valid.
    masses = np.exp([got.log_weight for got in samples])
    assert masses.mean() == pytest.approx(math.exp(total), abs=5 * masses.std() / n**0.5)


def test_a_row_depends_on_its_prompt_and_seed_alone():
    constraints = [json_schema(one["schema"], VOCABULARY) for one in GOLDEN[:5]]
    together = ask(constraints, n=3, max_tokens=40)
    again = ask(constraints, n=2, max_tokens=40, width=3)
    for i, constraint in enumerate(constraints):
        [alone] = ask([constraint], seed=i, max_tokens=40)
        assert alone[0].tokens == together[i][0].tokens
        assert [got.tokens for got in again[i]] == [got.tokens for got in together[i][:2]]
    assert len({got.tokens for got in together[0]}) == 3


def test_a_budget_too_small_is_noticed():
    number = json_schema({"type": "integer", "minimum": 100, "maximum": 999}, VOCABULARY)
    [[cut]] = ask([number], max_tokens=2)
    assert (cut.finish, cut.complete, len(cut.tokens)) == ("length", False, 2)
    [[whole]] = ask([number], max_tokens=3)  # all but its EOS
    assert (whole.finish, whole.complete) == ("length", True)
    with pytest.raises(ValueError, match="max_tokens"):
        importance_weights([cut])


@pytest.mark.parametrize("family", slow_but(["transformer"], ["transformer", "rwkv7", "encdec"]))
def test_a_full_context_goes_on_and_greedy_takes_the_best_allowed(family):
    model = models.build(ladder(16, 259, family))
    params = jax.jit(model.init)(jax.random.key(0))
    word = regex("[a-d]{20}", VOCABULARY)
    greedy = {"settings": SamplingSettings(temperature=0.0), "model": model, "max_tokens": 30, "context": 8}
    [[got]] = ask([word], params, **greedy)
    assert (len(got.text), got.finish) == (20, "eos")
    assert sum(got.sampling_logprobs) == 0.0
    text = [EOS]
    logits = jax.jit(lambda *text: first_logits(model, params, *text))
    for token in got.tokens[:12]:
        if len(text) >= 8:
            text = text[-4:]
        row = np.zeros((1, 8), np.int32)
        row[0, : len(text)] = text
        logits_V = np.asarray(logits(row, np.array([len(text)])))
        assert token == 100 + int(np.argmax(logits_V[100:104]))
        text.append(token)


def first_logits(model, params, row_BT, length_B):
    """Logits [V] after a padded text."""
    if model.has_encoder:
        shown_BT = jnp.arange(8)[None] < jnp.maximum(length_B - 1, 1)
        last_B1, one_B = row_BT[0, length_B - 1][None], jnp.ones_like(length_B)
        source = {"source_BS": row_BT, "source_mask_BS": shown_BT}
        return model.prefill(params, last_B1, one_B, 8, **source)[0][0]
    return model.prefill(params, row_BT, length_B, 8)[0][0]


def test_processors_choose_among_what_is_allowed():
    word = regex("[xyz]{6}", VOCABULARY)
    table = jnp.zeros((259, 259)).at[:, 3 + ord("y")].set(1.0).at[:, 3 + ord("q")].set(9.0)
    [[got]] = ask([word], table, settings=SamplingSettings(top_k=1), max_tokens=9)
    assert got.text == "yyyyyy"
    # "No token twice" cannot hold for six of three letters: the constraint comes first.
    [[got]] = ask([word], table, settings=SamplingSettings(no_repeat_ngram_size=1), max_tokens=9)
    assert sorted(got.text[:3]) == ["x", "y", "z"] and got.finish == "eos"
    assert got.log_weight != pytest.approx(sum(got.allowed_logmass))


def test_wrong_requests_are_refused():
    digit = regex("[0-9]", VOCABULARY)
    with pytest.raises(ValueError, match="259 tokens, the model's 4"):
        ask([digit], jnp.zeros((4, 4)), model=bigram_model(4), max_tokens=3)
    with pytest.raises(ValueError, match="max_tokens=0"):
        ask([digit], max_tokens=0)
    with pytest.raises(ValueError, match="constraints of two vocabularies"):
        ask([digit, regex("[a-z]", Vocabulary(BYTES, EOS))], max_tokens=3)
    with pytest.raises(ValueError, match="2 constraints"):
        sample_constrained(BIGRAM, UNTRAINED, [[1]], [0], SamplingSettings(), [digit, digit], max_tokens=1)


def test_tokens_of_several_bytes_and_of_one_that_is_said_twice(tmp_path):
    """A SentencePiece vocabulary: words with their spaces, and letters that are also bytes."""
    import sentencepiece

    from experiments.data.vocab import SentencePieceVocab

    text = tmp_path / "text.txt"
    words = 'name": "one two three", "list": [1, 2, 30], "größe": true, {"id": null}\n'
    text.write_text(words * 30)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(tmp_path / "tiny"),
        vocab_size=300,
        byte_fallback=True,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = SentencePieceVocab(tmp_path / "tiny.model")
    vocabulary = Vocabulary(pieces.token_bytes(), pieces.eos_id)
    size = pieces.size
    table = jax.random.normal(jax.random.key(1), (size, size))
    constraints = [json_schema(one["schema"], vocabulary) for one in GOLDEN]
    found = ask(constraints, table, model=bigram_model(size), n=4, max_tokens=3000)
    for one, samples in zip(GOLDEN, found):
        for got in samples:
            assert got.finish == "eos"
            valid(got.text, one["schema"])
    assert any(len(vocabulary.token_bytes[i]) > 1 for samples in found for got in samples for i in got.tokens)
