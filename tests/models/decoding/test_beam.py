"""Beam search against Hugging Face's results, against a plain reference, and against enumeration."""

import functools
import itertools
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import hf, ladder
from models.decoding.beam import beam_search
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
    table, prompt, beams, max_tokens, eos_id, length_penalty, groups=1, diversity=0.0, early_stopping=False
):
    """The rules of the module, hypothesis by hypothesis."""
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
    ],
)
def test_wrong_requests_are_refused(bad, word):
    rules = {"prompts": [[2]], "beams": 4, "max_tokens": 3, "eos_id": 1} | bad
    with pytest.raises(ValueError, match=word):
        beam_search(bigram_model(4), jnp.zeros((4, 4)), **rules)
