"""Beam search against Hugging Face's results, against a plain reference, and against enumeration."""

import functools
import itertools
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

import models
from models import hf, ladder
from models.decoding.beam import beam_search
from models.decoding.settings import SamplingSettings
from models.model import Model
from tests.models.decoding.test_sample import EVERY_FAMILY, bigram_model

DATA = Path("tests/data")


@pytest.fixture(scope="module", params=[pytest.param("gpt2", marks=pytest.mark.slow), "llama"])
def golden(request):
    """A network, its parameters, and what transformers' beam search found with it."""
    config, params = hf.load(DATA / "hf" / request.param)
    arrays, prefix = np.load(DATA / "beam.npz"), f"{request.param}_"
    mine = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
    return models.build(config), params, mine


def test_equals_hugging_face(golden):
    model, params, arrays = golden
    prompts, expected = arrays["input_ids"].tolist(), arrays["beam_noeos_sequences"]
    with jax.default_matmul_precision("highest"):
        found = beam_search(model, params, prompts, beams=4, max_tokens=12, eos_id=-1)
    assert [[list(one.tokens) for one in row] for row in found] == expected.tolist()
    scores = [[one.score for one in row] for row in found]
    np.testing.assert_allclose(scores, arrays["beam_noeos_scores"], atol=1e-4)
    assert {one.finish for row in found for one in row} == {"length"}


def test_equals_hugging_face_with_eos(golden):
    model, params, arrays = golden
    for i, prompt in enumerate(arrays["input_ids"].tolist()):
        eos_id = int(arrays["beam_eos_id"][i])
        with jax.default_matmul_precision("highest"):
            [found] = beam_search(model, params, [prompt], beams=4, max_tokens=12, eos_id=eos_id)
        lengths = arrays["beam_eos_lengths"][i]
        expected = [row[:n].tolist() for row, n in zip(arrays["beam_eos_sequences"][i], lengths)]
        assert [list(one.tokens) for one in found] == expected
        np.testing.assert_allclose([one.score for one in found], arrays["beam_eos_scores"][i], atol=1e-4)
        assert [one.finish == "eos" for one in found] == [eos_id in tokens for tokens in expected]
        beside = beam_search(model, params, [[5, 6], prompt], beams=4, max_tokens=12, eos_id=eos_id)
        assert [list(one.tokens) for one in beside[1]] == expected


def reference(
    table,
    prompt,
    beams,
    max_tokens,
    eos_id,
    length_penalty,
    groups=1,
    diversity=0.0,
    early_stopping=False,
    noise=None,
):
    """The rules of the module, hypothesis by hypothesis; `noise` [steps,M·V] chooses them, if given."""
    logprobs = np.asarray(jax.nn.log_softmax(table), np.float64)
    size = beams // groups
    opened: list[list] = [[((), 0.0)] for _ in range(groups)]
    finished: list[list] = [[] for _ in range(groups)]
    done = [False] * groups
    for step in range(1, max_tokens + 1):
        taken: Counter = Counter()
        scale = step**length_penalty
        for g in range(groups):
            candidates = []
            for tokens, score in opened[g]:
                row = logprobs[(*prompt, *tokens)[-1]]
                candidates += [((*tokens, v), score + row[v] - diversity * taken[v]) for v in range(len(row))]
            if noise is not None:
                by = dict(zip(candidates, noise[step - 1]))
                candidates = sorted(candidates, key=lambda c: -(c[1] + by[c]))[: 2 * size]
            candidates = sorted(candidates, key=lambda c: -c[1])[: 2 * size]
            if not done[g]:
                ends = [c for c in candidates[:size] if c[0][-1] == eos_id or step == max_tokens]
                finished[g] += [(tokens, score / scale) for tokens, score in ends]
                finished[g] = sorted(finished[g], key=lambda c: -c[1])[:size]
            opened[g] = [c for c in candidates if c[0][-1] != eos_id][:size]
            worst = finished[g][-1][1] if len(finished[g]) == size else -np.inf
            hoped = max_tokens if early_stopping == "never" and length_penalty > 0 else step
            full = len(finished[g]) == size
            done[g] |= full and (early_stopping is True or opened[g][0][1] / hoped**length_penalty <= worst)
            taken.update(tokens[-1] for tokens, _ in opened[g])
    return sorted(itertools.chain(*finished), key=lambda c: -c[1])


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("groups, diversity", [(1, 0.0), (3, 0.7)])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_equals_a_plain_reference(groups, diversity, length_penalty, early_stopping):
    table = np.random.default_rng(groups).normal(0, 1.5, (9, 9)).astype(np.float32)
    rules = {"beams": 6, "max_tokens": 7, "eos_id": 1, "length_penalty": length_penalty}
    rules |= {"groups": groups, "diversity": diversity, "early_stopping": early_stopping}
    found = beam_search(bigram_model(9), jnp.asarray(table), [[5], [3, 4], [2]], **rules)
    for prompt, row in zip([[5], [3, 4], [2]], found):
        expected = reference(table, prompt, **rules)
        assert [one.tokens for one in row] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([one.score for one in row], [score for _, score in expected], atol=1e-5)
        for one in row:
            path = list(zip((prompt[-1], *one.tokens), one.tokens))
            total = sum(float(jax.nn.log_softmax(table[a])[b]) for a, b in path)
            assert sum(one.logprobs) == pytest.approx(total, abs=1e-5)


def gumbel(seed: int, n_steps: int, n_candidates: int) -> np.ndarray:
    """The noise by which a prompt's beams are drawn."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    return np.array([jax.random.gumbel(jax.random.fold_in(key, i), (n_candidates,)) for i in range(n_steps)])


def test_drawn_beams_equal_a_plain_reference_whatever_is_beside_them():
    table = np.random.default_rng(0).normal(0, 1.5, (9, 9)).astype(np.float32)
    rules = {"beams": 4, "max_tokens": 6, "eos_id": 1, "length_penalty": 1.0}
    prompts, seeds = [[5], [3, 4], [5]], [0, 2**32 - 1, 7]
    found = beam_search(bigram_model(9), jnp.asarray(table), prompts, **rules, seeds=seeds)
    for prompt, seed, row in zip(prompts, seeds, found):
        expected = reference(table, prompt, **rules, noise=gumbel(seed, 6, 4 * 9))
        assert [one.tokens for one in row] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([one.score for one in row], [score for _, score in expected], atol=1e-5)
    assert found[0] != found[2]


def test_a_drawn_beam_is_the_better_of_two_tokens_drawn_without_replacement():
    n, table = 4000, np.array([[0.0, 1.0, -1.0, 0.5, -0.5, 0.2]] * 6)
    p = np.exp(table[0]) / np.exp(table[0]).sum()
    pairs = {(i, j): p[i] * p[j] / (1 - p[i]) for i, j in itertools.permutations(range(6), 2)}
    expected = np.zeros(6)
    for (i, j), mass in pairs.items():
        expected[max(i, j, key=lambda v: p[v])] += mass
    rules = {"beams": 1, "max_tokens": 1, "eos_id": -1}
    found = beam_search(bigram_model(6), jnp.float32(table), [[0]] * n, **rules, seeds=range(n))
    counts = np.bincount([row[0].tokens[0] for row in found], minlength=6)
    assert not counts[2] and expected[2] == 0  # the least likely is never the better one
    assert chisquare(np.delete(counts, 2), n * np.delete(expected, 2)).pvalue > 1e-3


def test_settings_shape_what_beams_are_ranked_by_and_not_the_logprobs():
    table = np.random.default_rng(3).normal(0, 1.5, (7, 7)).astype(np.float32)
    search = functools.partial(beam_search, bigram_model(7), jnp.asarray(table), [[2], [4, 3]], beams=3)
    search = functools.partial(search, max_tokens=5, eos_id=1)
    assert search(settings=SamplingSettings()) == search()
    for row, cold in zip(search(), search(settings=SamplingSettings(temperature=0.5))):
        assert [(one.tokens, one.logprobs) for one in row] == [(one.tokens, one.logprobs) for one in cold]
        np.testing.assert_allclose([2 * one.score for one in row], [one.score for one in cold], rtol=1e-5)
    banned = SamplingSettings(sequence_bias=(((2, 3), -np.inf), ((3, 5), -np.inf)), no_repeat_ngram_size=1)
    for prompt, row in zip(([2], [4, 3]), search(settings=banned)):
        for one in row:
            text = [*prompt, *one.tokens]
            assert len(set(text)) == len(text) and not {(2, 3), (3, 5)} & {*itertools.pairwise(text)}


@pytest.mark.slow
def test_drawn_beams_equal_hugging_face_where_its_draws_are_ours(monkeypatch):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    config, params = hf.load(DATA / "hf" / "llama")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(DATA / "hf" / "llama", dtype=torch.float32)
    prompt, seed, n = [5, 9, 2, 7, 7, 3], 3, 10
    draws = iter(gumbel(seed, n, 4 * config.vocab_size))

    def multinomial(probs, num_samples):
        return (probs.log() + torch.tensor(next(draws))).topk(num_samples).indices

    monkeypatch.setattr(torch, "multinomial", multinomial)
    how = {"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.3}
    expected = theirs.generate(
        torch.tensor([prompt]), do_sample=True, num_beams=4, num_return_sequences=4, max_new_tokens=n,
        eos_token_id=None, pad_token_id=0, output_scores=True, return_dict_in_generate=True, **how
    )  # fmt: skip
    rules = {"beams": 4, "max_tokens": n, "eos_id": -1, "seeds": [seed], "settings": SamplingSettings(**how)}
    with jax.default_matmul_precision("highest"):
        [found] = beam_search(models.build(config), params, [prompt], **rules)
    assert [list(one.tokens) for one in found] == expected.sequences[:, len(prompt) :].tolist()
    np.testing.assert_allclose([one.score for one in found], expected.sequences_scores, atol=1e-4)


def test_groups_with_a_penalty_differ_and_without_one_repeat():
    table = jnp.asarray(np.random.default_rng(0).normal(size=(12, 12)), jnp.float32)
    search = functools.partial(
        beam_search, bigram_model(12), table, [[3]], beams=4, groups=4, max_tokens=5, eos_id=-1
    )
    [same], [diverse] = search(), search(diversity=50.0)
    assert len({one.tokens for one in same}) == 1
    assert all(len(set(step)) == 4 for step in zip(*(one.tokens for one in diverse)))


def test_beams_enough_for_everything_find_everything():
    table = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), jnp.float32)
    logprobs = np.asarray(jax.nn.log_softmax(table))
    [found] = beam_search(
        bigram_model(3), table, [[0]], beams=27, max_tokens=3, eos_id=-1, length_penalty=0.0
    )
    scores = {
        path: sum(logprobs[a, b] for a, b in zip((0, *path), path))
        for path in itertools.product(range(3), repeat=3)
    }
    assert [one.tokens for one in found] == sorted(scores, key=lambda path: -scores[path])
    words = [b"a", b"b", b""]
    [few] = beam_search(
        bigram_model(3), table, [[0]], beams=27, max_tokens=2, eos_id=2, length_penalty=0.0, token_bytes=words
    )
    assert {one.text for one in few} == {"", "a", "b", "aa", "ab", "ba", "bb"}
    assert len(few) == 7  # no more exist


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_every_family_scores_as_it_does_without_a_search(family):
    model = models.build(ladder(16, 61, family))
    params = jax.jit(model.init)(jax.random.key(0))
    prompts = [[5, 6], [7, 8, 9, 10, 11]]
    found = beam_search(model, params, prompts, beams=3, max_tokens=5, eos_id=60)
    for prompt, row in zip(prompts, found):
        best = row[0]
        expected = logprobs(model, params, prompt, best.tokens)
        np.testing.assert_allclose(best.logprobs, expected, atol=1e-3)
        assert best.score == pytest.approx(np.mean(best.logprobs), abs=1e-5)


def logprobs(model: Model, params, prompt, tokens) -> np.ndarray:
    """The model's log-probabilities of a continuation, from one pass over each of its beginnings."""
    read = [prompt[-1]] if model.has_encoder else prompt
    rows = np.zeros((len(tokens), len(read) + len(tokens)), np.int32)
    for i in range(len(tokens)):
        rows[i, : len(read) + i] = [*read, *tokens[:i]]
    lengths_B = jnp.arange(len(tokens)) + len(read)
    source = {"source_BS": jnp.tile(jnp.asarray(prompt[:-1]), (len(rows), 1))} if model.has_encoder else {}
    logits_BV, _ = jax.jit(model.prefill, static_argnums=3)(params, rows, lengths_B, rows.shape[1], **source)
    return np.asarray(jax.nn.log_softmax(logits_BV))[np.arange(len(tokens)), tokens]


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"beams": 0}, "beams=0"),
        ({"groups": 3}, "divide"),
        ({"diversity": 1.0}, "groups"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"length_penalty": float("nan")}, "length_penalty=nan; it must be finite"),
        ({"groups": 2, "diversity": float("nan")}, "diversity=nan"),
        ({"prompts": [[2], [1, 4]]}, "tokens 1 to 4; the vocabulary is 0 to 3"),
        ({"seeds": [1, 2]}, "2 seeds for 1 prompts"),
        ({"seeds": [-1]}, "seed=-1; it must be from 0"),
        ({"seeds": [1], "groups": 2}, "groups=2 with seeds"),
    ],
)
def test_wrong_requests_are_refused(bad, word):
    rules = {"prompts": [[2]], "beams": 4, "max_tokens": 3, "eos_id": 1} | bad
    with pytest.raises(ValueError, match=word):
        beam_search(bigram_model(4), jnp.zeros((4, 4)), **rules)
