"""Processors against Hugging Face's (data/processors.npz, transformers 5.24) and their definitions."""

import dataclasses
import json

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import chisquare

from models.decoding import processors
from models.decoding.history import begin, extend
from models.decoding.sampling_loop import draw
from models.decoding.settings import SamplingSettings, per_row

GOLDEN = np.load("tests/data/processors.npz")
CASES = json.loads(str(GOLDEN["manifest"]))
# The names of the oracle's parameters; those that a case has besides are read by the test.
FIELDS = {
    ("temperature", "t"): "temperature",
    ("top_k", "k"): "top_k",
    ("top_p", "p"): "top_p",
    ("min_p", "p"): "min_p",
    ("typical", "mass"): "typical_p",
    ("epsilon", "eps"): "epsilon_cutoff",
    ("eta", "eps"): "eta_cutoff",
    ("repetition_penalty", "penalty"): "repetition_penalty",
    ("no_repeat_ngram", "n"): "no_repeat_ngram_size",
    ("min_new_tokens", "n"): "min_new_tokens",
}
FIELDS |= {(name, "keep"): "min_tokens_to_keep" for name, _ in FIELDS}
process = jax.jit(processors.process)


def shaped(logits, prompts=None, sampled=None, eos=-1, **values):
    """What `process` makes of logits [B,V] after rows of prompts and sampled tokens."""
    n, n_vocab = np.shape(logits)
    history = begin(prompts or [[]] * n, sampled or [[]] * n, n_vocab, 32)
    return np.asarray(
        process(np.float32(logits), history, SamplingSettings(**values).arrays(n_vocab), np.int32(eos))
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['index']}-{case['name']}")
def test_processors_equal_hugging_face(case):
    chain = case.get("chain") or [(case["name"], case)]
    given = {(name, key): value for name, parameters in chain for key, value in parameters.items()}
    values = {field: given[key] for key, field in FIELDS.items() if key in given}
    assert values
    ids_BT, n = GOLDEN["input_ids"], case.get("prompt_len", 20)
    prompts, sampled, [eos] = ids_BT[:, :n].tolist(), ids_BT[:, n:].tolist(), case.get("eos", [-1])
    out_BV = shaped(GOLDEN["logits"], prompts, sampled, eos, **values)
    np.testing.assert_allclose(out_BV, GOLDEN[f"out_{case['index']:02d}"], rtol=1e-6, atol=1e-6)


logits_of = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).normal(0, 3, (2, 40)))


def masses(logits_BV):
    """Probabilities [B,V] in float64."""
    weights_BV = np.exp(np.float64(logits_BV) - np.max(logits_BV, axis=1, keepdims=True))
    return weights_BV / weights_BV.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=50)
@given(logits_of, st.floats(0.01, 0.99), st.integers(1, 50))
def test_top_p_is_the_smallest_set_that_reaches_the_mass(logits_BV, p, keep):
    kept_BV = np.isfinite(shaped(logits_BV, top_p=p, min_tokens_to_keep=keep))
    for kept_V, probs_V in zip(kept_BV, masses(logits_BV)):
        mass = probs_V[kept_V].sum()
        assert probs_V[kept_V].min() >= probs_V[~kept_V].max(initial=0)
        assert mass >= p - 1e-5
        assert kept_V.sum() <= keep or mass - probs_V[kept_V].min() < p + 1e-5
        assert kept_V.sum() >= min(keep, 40)


@settings(deadline=None, max_examples=50)
@given(logits_of, st.floats(0.01, 0.99))
def test_typical_keeps_the_mass_nearest_to_the_entropy(logits_BV, p):
    kept_BV = np.isfinite(shaped(logits_BV, typical_p=p))
    for kept_V, probs_V in zip(kept_BV, masses(logits_BV)):
        away_V = np.abs(-np.log(probs_V) + np.sum(probs_V * np.log(probs_V)))
        assert away_V[kept_V].max() <= away_V[~kept_V].min(initial=np.inf) + 1e-5
        assert probs_V[kept_V].sum() >= p - 1e-5
        assert probs_V[kept_V & (away_V < away_V[kept_V].max())].sum() < p + 1e-5


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([-1e4, -2.0, -0.5, 0.0, 1e-30, 0.5, 3.0]), min_size=20, max_size=20),
    st.integers(1, 25),
)
def test_top_k_keeps_k_tokens_and_what_equals_the_last(logits, k):
    kept_V = np.isfinite(shaped([logits], top_k=k)[0])
    kth = sorted(logits)[-min(k, len(logits))]
    np.testing.assert_array_equal(kept_V, [logit >= kth for logit in logits])


STRICTER = [
    ("top_k", st.integers(1, 41), lambda value: value + 5),
    ("top_p", st.floats(0.01, 0.9), lambda value: value + 0.1),
    ("min_p", st.floats(0.01, 1), lambda value: value / 2),
    ("epsilon_cutoff", st.floats(1e-3, 1), lambda value: value / 2),
    ("eta_cutoff", st.floats(1e-3, 1), lambda value: value / 2),
    ("typical_p", st.floats(0.01, 0.9), lambda value: value + 0.1),
]


@pytest.mark.parametrize("name, strict, loosen", STRICTER, ids=lambda x: x if isinstance(x, str) else "")
def test_a_looser_rule_keeps_all_that_a_stricter_one_does(name, strict, loosen):
    @settings(deadline=None, max_examples=20)
    @given(logits_of, strict)
    def check(logits_BV, value):
        kept_BV = np.isfinite(shaped(logits_BV, **{name: value}))
        assert kept_BV.any(axis=1).all()
        assert np.isfinite(shaped(logits_BV, **{name: loosen(value)}))[kept_BV].all()

    check()


@settings(deadline=None, max_examples=30)
@given(logits_of, st.integers(1, 6), st.floats(0, 1), st.floats(0, 1))
def test_min_tokens_to_keep_holds_whatever_the_rule(logits_BV, keep, p, cutoff):
    values = {"top_k": 1, "min_p": p, "epsilon_cutoff": cutoff, "eta_cutoff": cutoff}
    kept_BV = np.isfinite(shaped(logits_BV, min_tokens_to_keep=keep, **values))
    largest_BK = np.argsort(-logits_BV, axis=1)[:, :keep]
    assert np.take_along_axis(kept_BV, largest_BK, axis=1).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_no_repeat_ngram_bans_just_what_would_repeat(prompt, sampled, n):
    text = prompt + sampled
    ngrams = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
    tail = text[len(text) - n + 1 :]
    banned = [len(text) >= n - 1 and (*tail, token) in ngrams for token in range(5)]
    out_V = shaped(np.zeros((1, 5)), [prompt], [sampled], no_repeat_ngram_size=n)[0]
    np.testing.assert_array_equal(np.isinf(out_V), banned)


def test_presence_and_frequency_count_what_was_sampled_but_not_the_prompt():
    logits, values = np.zeros((1, 4)), {"presence_penalty": 0.5, "frequency_penalty": 0.25}
    out_V = shaped(logits, [[0, 0, 1]], [[1, 2, 2]], **values)[0]
    np.testing.assert_allclose(out_V, [0, -0.75, -1.0, 0])
    history = begin([[0, 0, 1]], [[1]], 4, 8)
    for token in (2, 2):
        history = jax.jit(extend)(history, jnp.asarray([token]))
    grown_V = process(np.float32(logits), history, SamplingSettings(**values).arrays(4))[0]
    np.testing.assert_array_equal(grown_V, out_V)


def test_logit_bias_shifts_and_bans():
    out_V = shaped(np.zeros((1, 4)), logit_bias=((1, 2.5), (3, -np.inf), (1, -1.0)))[0]
    np.testing.assert_array_equal(out_V, [0, 1.5, 0, -np.inf])


def biased(logits_BV, texts, sequences):
    """By the definition, token by token."""
    out_BV = np.array(logits_BV)
    for row_V, text in zip(out_BV, texts):
        for (*before, last), bias in sequences:
            if text[len(text) - len(before) :] == before:
                row_V[last] += np.float32(bias)
    return out_BV


words = st.lists(st.integers(0, 2), min_size=1, max_size=4)
texts_of_words = st.lists(st.integers(0, 2), min_size=0, max_size=6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(words, st.sampled_from([-np.inf, 1.5, -2.0])), max_size=4), texts_of_words, words)
def test_a_sequence_is_biased_where_the_text_ends_with_its_beginning(sequences, prompt, sampled):
    logits_BV = np.float32(np.random.default_rng(len(prompt)).normal(size=(2, 3)))
    given_to_it = tuple((tuple(tokens), bias) for tokens, bias in sequences)
    out_BV = shaped(logits_BV, [prompt, []], [sampled, []], sequence_bias=given_to_it)
    np.testing.assert_allclose(out_BV, biased(logits_BV, [prompt + sampled, []], sequences), rtol=1e-6)


@pytest.mark.slow
def test_banned_and_biased_sequences_equal_hugging_face():
    transformers = pytest.importorskip("transformers")
    torch, rng = pytest.importorskip("torch"), np.random.default_rng(0)
    for _ in range(100):
        texts, logits_BV = rng.integers(0, 4, (5, 9)), np.float32(rng.normal(size=(5, 4)))
        words = {
            tuple(rng.integers(0, 4, rng.integers(2, 5)).tolist()): float(rng.normal()) for _ in range(6)
        }
        process_theirs = (
            transformers.SequenceBiasLogitsProcessor(words),
            transformers.NoBadWordsLogitsProcessor([list(word) for word in words]),
        )
        banned = dict.fromkeys(words, -np.inf)
        for theirs, sequences in zip(process_theirs, (words, banned)):
            expected_BV = theirs(torch.tensor(texts), torch.tensor(logits_BV)).numpy()
            out_BV = shaped(logits_BV, texts.tolist(), sequence_bias=tuple(sequences.items()))
            np.testing.assert_allclose(out_BV, expected_BV, rtol=1e-5)


def test_rows_have_sequences_of_their_own():
    logits_BV, texts = np.zeros((3, 4), np.float32), [[1], [1], [2, 1]]
    rows = [
        SamplingSettings(sequence_bias=(((1, 3), -np.inf),)),
        SamplingSettings(),
        SamplingSettings(sequence_bias=(((2, 1, 0), 2.0), ((3,), 1.0), ((2, 3), 9.0))),
    ]
    out_BV = process(logits_BV, begin(texts, [[]] * 3, 4, 8), per_row(rows, 4), np.int32(-1))
    np.testing.assert_array_equal(out_BV, [[0, 0, 0, -np.inf], [0, 0, 0, 0], [2, 0, 0, 1]])


def test_equal_tokens_stay_together_in_top_p():
    out_BV = shaped([[2.0, 0.0, 0.0, -5.0]], top_p=0.85)  # 0.78, 0.11, 0.11, 0.0007
    np.testing.assert_array_equal(np.isfinite(out_BV), [[True, True, True, False]])


def test_zero_temperature_is_argmax_for_any_finite_logits():
    out_BV = shaped([[1e-30, 3e38, 3e38, -3e38], [-1.0, -1.0, -2.0, -np.inf]], temperature=0.0)
    np.testing.assert_array_equal(out_BV, [[-np.inf, 0, -np.inf, -np.inf], [0, -np.inf, -np.inf, -np.inf]])


@settings(deadline=None, max_examples=20)
@given(logits_of)
def test_neutral_values_change_nothing(logits_BV):
    texts = [[3, 1, 3, 1, 3, 1]] * 2
    logits_BV = np.float32(logits_BV)
    np.testing.assert_array_equal(shaped(logits_BV, texts, texts, eos=1), logits_BV)
    # Each alone, beside a value that is in use.
    biased_BV = shaped(logits_BV, texts, texts, eos=1, logit_bias=((0, 1.0),))
    np.testing.assert_array_equal(biased_BV, logits_BV + np.float32([1] + [0] * 39))


def test_every_setting_together_leaves_a_token():
    values = {"temperature": 0.0, "top_k": 1, "top_p": 1e-6, "min_p": 1.0, "typical_p": 1e-6}
    values |= {"repetition_penalty": 1.5, "epsilon_cutoff": 1.0, "eta_cutoff": 1.0}
    logits_BV = np.random.default_rng(0).normal(size=(3, 50))
    out_BV = shaped(logits_BV, **values)
    np.testing.assert_array_equal(np.isfinite(out_BV).sum(axis=1), 1)
    np.testing.assert_array_equal(np.argmax(out_BV, axis=1), np.argmax(logits_BV, axis=1))


def test_a_changed_value_does_not_recompile():
    logits_BV, values = np.random.default_rng(0).normal(size=(2, 9)), dataclasses.asdict(SamplingSettings())
    shaped(logits_BV)
    before = process._cache_size()
    for name in values.keys() - {"logit_bias", "sequence_bias"}:
        shaped(logits_BV, **{name: 2 if name in ("top_k", "min_tokens_to_keep") else 1})
    shaped(logits_BV, logit_bias=((1, 2.0),))
    assert process._cache_size() == before
    for sequences in ((((1, 2, 3), 1.0), ((0,), -np.inf), ((5, 6), 2.0)), (((1, 2, 3, 4), 1.0),) * 4):
        shaped(logits_BV, sequence_bias=sequences)
    assert process._cache_size() == before + 1


DISTRIBUTIONS = [
    {},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"typical_p": 0.8, "repetition_penalty": 1.3},
    {"min_p": 0.05, "temperature": 1.6},
]


@pytest.mark.parametrize("values", DISTRIBUTIONS, ids=str)
def test_sampled_frequencies_are_the_processed_distribution(values):
    n_draws, (prompt, logits_V) = 100_000, (GOLDEN["input_ids"][0].tolist(), GOLDEN["logits"][0])
    out_V = shaped(logits_V[None], [prompt], **values)[0]
    keys_B = jax.vmap(jax.random.key)(np.arange(n_draws, dtype=np.uint32))
    tokens_B = jax.jit(draw)(keys_B, jnp.zeros(n_draws, jnp.int32), jnp.tile(out_V, (n_draws, 1)))
    counts_V, expected_V = np.bincount(tokens_B, minlength=len(out_V)), n_draws * masses(out_V[None])[0]
    assert counts_V[np.isinf(out_V)].sum() == 0
    rare_V = expected_V < 5  # together one cell, for which χ² holds
    observed = [*counts_V[~rare_V], counts_V[rare_V].sum()]
    expected = [*expected_V[~rare_V], expected_V[rare_V].sum()]
    cells = np.asarray(expected) > 0
    assert chisquare(np.asarray(observed)[cells], np.asarray(expected)[cells]).pvalue > 1e-3
