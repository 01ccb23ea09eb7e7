"""Sampling, against a model whose distribution is known and against full forward passes."""

import dataclasses
import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

import models
from models import FAMILIES, TransformerConfig, ladder
from models.decoding import prefill, sampling_loop
from models.decoding.continuous_batching import ContinuousBatch
from models.decoding.sample import Sample, sample
from models.decoding.settings import SamplingSettings
from models.decoding.stop import StopCriteria
from models.model import Model
from tests.tiers import slow_but

EOS = 1
GREEDY = SamplingSettings(temperature=0.0)
TINY = TransformerConfig(
    vocab_size=29, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_head=8, d_ff=48, tied_embeddings=True
)


@pytest.fixture(scope="module")
def transformer():
    model = models.build(TINY)
    return model, jax.jit(model.init)(jax.random.key(0))


def bigram_model(n_vocab: int) -> Model:
    """Next-token logits are a row of the table `params`, chosen by the last token."""

    def prefill(table_VV, tokens_BT, lengths_B, max_len):
        last_B = jnp.take_along_axis(tokens_BT, lengths_B[:, None] - 1, axis=1)[:, 0]
        return table_VV[last_B], {"lengths": lengths_B}

    def decode(table_VV, token_B, cache):
        return table_VV[token_B], {"lengths": cache["lengths"] + 1}

    config = dataclasses.replace(TINY, vocab_size=n_vocab)
    return Model(config, None, None, None, prefill, decode)


BIGRAM = bigram_model(4)


def greedy_by_recomputation(model, params, prompt, max_tokens, context=None):
    """Tokens and log-probabilities of argmax decoding, each from a full forward pass without cache."""
    tokens, logprobs, forward, start = list(prompt), [], jax.jit(model.apply), 0
    while len(logprobs) < max_tokens and (not logprobs or tokens[-1] != EOS):
        if context and len(tokens) - start >= context:
            start = len(tokens) - context // 2
        view = tokens[start:]
        padded_T = np.pad(view, (0, 50 - len(view)))
        logits_V = forward(params, padded_T[None])[0, len(view) - 1]
        tokens.append(int(jnp.argmax(logits_V)))
        logprobs.append(float(jax.nn.log_softmax(logits_V)[tokens[-1]]))
    return tokens[len(prompt) :], logprobs


def test_greedy_equals_recomputing_the_whole_sequence(transformer):
    model, params = transformer
    prompts = [[3], [4, 5, 6, 7, 8, 9, 10], list(range(2, 22))]
    samples = sample(model, params, prompts, [0] * 3, GREEDY, max_tokens=20, eos_id=EOS)
    for prompt, [got] in zip(prompts, samples):
        tokens, logprobs = greedy_by_recomputation(model, params, prompt, 20)
        assert list(got.tokens) == tokens
        np.testing.assert_allclose(got.logprobs, logprobs, atol=1e-4)


def test_a_full_context_goes_on_from_its_last_half(transformer):
    model, params = transformer
    prompts = [[3], [4, 5, 6, 7, 8, 9, 10], list(range(2, 22))]  # the last one is longer than the context
    samples = sample(model, params, prompts, [0] * 3, GREEDY, max_tokens=20, eos_id=-1, context=9)
    for prompt, [got] in zip(prompts, samples):
        tokens, logprobs = greedy_by_recomputation(model, params, prompt, 20, context=9)
        assert list(got.tokens) == tokens
        np.testing.assert_allclose(got.logprobs, logprobs, atol=1e-4)


RAGGED = [[5], [7, 8, 9, 10, 11], [3, 4], [7, 8], list(range(2, 19))]
SEEDS = [11, 12, 13, 12, 15]


def ask_in_pieces(ask, order: list[int], **how) -> list[list[Sample]]:
    """The samples of RAGGED, asked for in this order, in theirs."""
    samples = ask([RAGGED[i] for i in order], [SEEDS[i] for i in order], **how)
    return [samples[order.index(i)] for i in range(len(RAGGED))]


def assert_same(got: list[list[Sample]], expected: list[list[Sample]]) -> None:
    for group, expected_group in zip(got, expected, strict=True):
        for one, other in zip(group, expected_group, strict=True):
            assert (one.tokens, one.finish) == (other.tokens, other.finish)
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
            np.testing.assert_allclose(one.sampling_logprobs, other.sampling_logprobs, atol=1e-4)


EVERY_FAMILY = slow_but(["transformer"], FAMILIES)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_row_says_the_same_beside_any_others_and_at_any_time(family):
    model = models.build(ladder(16, 61, family))
    params = jax.jit(model.init)(jax.random.key(0))
    shaped = SamplingSettings(temperature=0.9, top_p=0.95, repetition_penalty=1.2)
    request = {"settings": shaped, "n": 2, "max_tokens": 14, "eos_id": 60}
    if family == "transformer":  # some fill their context and go on from its last half
        request["context"] = 18
    ask = functools.partial(sample, model, params, stop=StopCriteria(tokens=tuple(range(40, 44))), **request)
    together = ask(RAGGED, SEEDS)
    assert len({one.finish for group in together for one in group}) > 1
    # Three places for ten rows: admitted rows take them in the middle of the others' texts.
    assert_same(ask_in_pieces(ask, [4, 2, 0, 1, 3], width=3, every=5), together)
    if family == "transformer":
        assert_same(ask(RAGGED, SEEDS, width=1, every=1), together)


def test_rows_in_two_batches_at_a_time_say_what_they_say_in_one(transformer, monkeypatch):
    """Where a CPU has two cores and there are rows enough; a prompt's two may be in both, and some wait."""
    model, params = transformer
    request = {"n": 2, "max_tokens": 14, "eos_id": EOS, "context": 18}
    ask = functools.partial(sample, model, params, RAGGED, SEEDS, SamplingSettings(), **request)
    module, made, init = sys.modules["models.decoding.sample"], [], ContinuousBatch.__init__

    def count(batch, model, params, rows, *args, **kwargs):
        made.append(len(rows))
        init(batch, model, params, rows, *args, **kwargs)

    monkeypatch.setattr(ContinuousBatch, "__init__", count)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(module, "LEAST_ROWS", 3)
    expected = ask()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert_same(ask(), expected)
    assert_same(ask(width=7), expected)
    ask(width=5)
    assert made == [10, 5, 5, 5, 5, 10]
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    with pytest.raises(ValueError, match="not numbers"):
        sample(model, params, RAGGED, SEEDS, SamplingSettings(), **request)


def test_fewer_tokens_are_a_prefix_and_the_seed_matters(transformer):
    model, params = transformer
    plain = SamplingSettings()
    [long] = sample(model, params, [[7, 8]], [5], plain, n=4, max_tokens=45, eos_id=EOS)
    [short] = sample(model, params, [[7, 8]], [5], plain, n=4, max_tokens=35, eos_id=EOS)
    assert [one.tokens for one in short] == [one.tokens[:35] for one in long]
    assert len({one.tokens for one in long}) == 4
    [other] = sample(model, params, [[7, 8]], [6], plain, n=4, max_tokens=45, eos_id=EOS)
    assert not {one.tokens for one in long} & {one.tokens for one in other}


def test_rows_end_at_eos_or_at_the_limit():
    # 2 is followed by 3, 3 by EOS; 0 repeats for ever.
    table_VV = jnp.full((4, 4), -50.0).at[jnp.asarray([0, 1, 2, 3]), jnp.asarray([0, 2, 3, EOS])].set(0.0)
    [[two], [zero]] = sample(BIGRAM, table_VV, [[0, 2], [0]], [0, 0], GREEDY, max_tokens=5, eos_id=EOS)
    assert (two.tokens, two.finish) == ((3, EOS), "eos")
    assert (zero.tokens, zero.finish) == ((0,) * 5, "length")
    [[last]] = sample(BIGRAM, table_VV, [[2]], [0], GREEDY, max_tokens=2, eos_id=EOS)
    assert (last.tokens, last.finish) == ((3, EOS), "eos")


def test_repetition_penalty_sees_prompt_and_output_but_not_padding():
    table_VV = jnp.tile(jnp.asarray([2.5, -50.0, 2.0, 1.9]), (4, 1))
    penalty = SamplingSettings(temperature=0.0, repetition_penalty=2.0)
    prompts = [[2], [3] * 20]  # the first is padded, with token 0
    for context in (None, 2):  # of 2: what is out of the model's sight still counts
        [[short], [long]] = sample(
            BIGRAM, table_VV, prompts, [0, 0], penalty, max_tokens=3, eos_id=EOS, context=context
        )
        assert short.tokens == (0, 3, 0)
        assert long.tokens == (0, 2, 0)


def test_frequencies_match_the_distribution():
    logits_V = np.asarray([0.0, -2.0, 1.0, 0.5])
    table_VV = jnp.tile(jnp.asarray(logits_V, jnp.float32), (4, 1))
    shaped = SamplingSettings(temperature=0.7)
    samples = sample(BIGRAM, table_VV, [[0], [2]], [1, 2], shaped, n=2048, max_tokens=25, eos_id=-1)
    probs_V = np.exp(logits_V / 0.7) / np.exp(logits_V / 0.7).sum()
    for group in samples:
        tokens = np.asarray([one.tokens for one in group])
        assert chisquare(np.bincount(tokens.ravel(), minlength=4), tokens.size * probs_V).pvalue > 1e-3
        # Neighbouring tokens and neighbouring samples are independent too.
        for pairs in (4 * tokens[:, 1:] + tokens[:, :-1], 4 * tokens[1:] + tokens[:-1]):
            expected = pairs.size * np.outer(probs_V, probs_V).ravel()
            assert chisquare(np.bincount(pairs.ravel(), minlength=16), expected).pvalue > 1e-3


def test_top_k_never_draws_outside():
    table_VV = jnp.zeros((4, 4)).at[:, 2].set(1.0).at[:, 0].set(0.5)
    [group] = sample(BIGRAM, table_VV, [[0]], [0], SamplingSettings(top_k=2), n=64, max_tokens=32, eos_id=EOS)
    assert {token for one in group for token in one.tokens} == {0, 2}


def compiles() -> list[int]:
    return [
        each._cache_size() for each in (prefill.prefill_padded, sampling_loop.admit, sampling_loop.advance)
    ]


def test_settings_seeds_stops_and_lengths_of_one_bucket_share_a_compile(transformer):
    model, params = transformer
    before = compiles()
    for seed, (length, limit, t) in enumerate([(33, 70, 0.0), (40, 72, 0.7), (35, 75, 1.3)]):
        stop = StopCriteria(tokens=(3, 4)[:seed], seconds=100 + seed)
        shaped = SamplingSettings(temperature=t, top_k=seed, no_repeat_ngram_size=seed)
        sample(model, params, [[5] * length], [seed], shaped, max_tokens=limit, eos_id=EOS, stop=stop)
    assert np.all(np.subtract(compiles(), before) <= 1)


LETTERS = [b"", b"", b"a", b"b"]


def test_a_stop_string_ends_a_row_wherever_tokens_and_calls_cut_it():
    # a a b a a b …, from the table of pairs: 2 -> 3 -> 0 (silent) -> 2.
    table_VV = jnp.full((4, 4), -50.0).at[jnp.asarray([0, 1, 2, 3]), jnp.asarray([2, 1, 3, 0])].set(0.0)
    ask = functools.partial(sample, BIGRAM, table_VV, [[0]], [0], GREEDY, eos_id=EOS, token_bytes=LETTERS)
    for every in (1, 2, 16):
        shown: list[str] = []
        [[one]] = ask(
            max_tokens=40,
            stop=StopCriteria(strings=("aba", "bb")),
            every=every,
            watch=lambda i, j, new, shown=shown: shown.append(new),
        )
        assert (one.finish, one.stop, one.tokens, one.text) == ("stop", "aba", (2, 3, 0, 2), "")
        assert shown == [] and len(one.logprobs) == len(one.sampling_logprobs) == 4
    [[one]] = ask(max_tokens=4, stop=StopCriteria(strings=("abab",)))
    assert (one.finish, one.stop, one.text) == ("length", None, "aba")  # what might have been a stop was none
    [[one]] = ask(max_tokens=9, stop=StopCriteria(tokens=(3,)))
    assert (one.finish, one.stop, one.tokens, one.text) == ("stop", 3, (2, 3), "a")


def test_a_budget_of_time_ends_what_is_unfinished():
    table_VV = jnp.zeros((4, 4))
    ask = functools.partial(
        sample, BIGRAM, table_VV, [[0]] * 3, [0, 1, 2], SamplingSettings(), eos_id=-1, width=2
    )
    [[first], [_], [third]] = ask(max_tokens=50, stop=StopCriteria(seconds=1e-6))
    assert (first.finish, len(first.tokens), third.finish, third.tokens) == ("time", 1, "time", ())
    assert first.tokens == ask(max_tokens=50)[0][0].tokens[:1]
    began = time.perf_counter()
    groups = ask(max_tokens=10**6, stop=StopCriteria(seconds=0.5))
    assert {group[0].finish for group in groups} == {"time"}
    assert time.perf_counter() - began < 30  # a million tokens would take minutes


def test_both_distributions_are_reported_for_chosen_and_likeliest_tokens(transformer):
    model, params = transformer
    shaped = SamplingSettings(temperature=0.5, top_k=3, repetition_penalty=1.3)
    [[one]] = sample(model, params, [[5, 9]], [3], shaped, max_tokens=6, eos_id=EOS, top_logprobs=4)
    logits_TV = np.asarray(model.apply(params, jnp.asarray([[5, 9, *one.tokens]]))[0])
    for position, (token, top) in enumerate(zip(one.tokens, one.top, strict=True)):
        text, logits_V = [5, 9, *one.tokens[:position]], logits_TV[1 + position]
        logprobs_V = np.asarray(jax.nn.log_softmax(logits_V))
        assert one.logprobs[position] == pytest.approx(logprobs_V[token], abs=1e-4)
        likeliest = np.argsort(-logits_V)[:4]
        assert [each for each, *_ in top] == likeliest.tolist()
        np.testing.assert_allclose([each for _, each, _ in top], logprobs_V[likeliest], atol=1e-4)
        seen = np.isin(np.arange(len(logits_V)), text)
        penalised_V = np.where(seen, np.where(logits_V < 0, logits_V * 1.3, logits_V / 1.3), logits_V) / 0.5
        penalised_V[penalised_V < np.sort(penalised_V)[-3]] = -np.inf
        sampling_V = np.asarray(jax.nn.log_softmax(penalised_V))
        assert one.sampling_logprobs[position] == pytest.approx(sampling_V[token], abs=1e-4)
        np.testing.assert_allclose([each for *_, each in top], sampling_V[likeliest], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[]], "seeds": [0]}, "prompt 0 is empty"),
        ({"prompts": [[3], [99]], "seeds": [0, 1]}, "prompt 1 has tokens 99 to 99; the vocabulary is"),
        ({"prompts": [], "seeds": []}, "no prompts"),
        ({"seeds": [1, 2]}, "2 seeds for 1 prompts"),
        ({"seeds": [-1]}, "seed=-1"),
        ({"max_tokens": 10**9}, "max_tokens=1000000000"),
        ({"n": 0}, "n=0"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"context": 1}, "context=1"),
        ({"width": 0}, "width=0"),
        ({"every": 0}, "every=0"),
        ({"top_logprobs": 30}, "top_logprobs=30"),
        ({"stop": StopCriteria(strings=("a",))}, "need `token_bytes`"),
    ],
)
def test_wrong_requests_are_refused(transformer, change, message):
    model, params = transformer
    request = {"prompts": [[3]], "seeds": [0], "n": 1, "max_tokens": 1} | change
    with pytest.raises(ValueError, match=message):
        sample(model, params, settings=GREEDY, eos_id=EOS, **request)
