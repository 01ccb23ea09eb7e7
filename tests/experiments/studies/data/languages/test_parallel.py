"""Bits of parallel sentences, against the network asked directly."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from experiments.data.vocab import ByteVocab
from experiments.studies.data.languages import parallel


@given(n=st.integers(2, 60), seq_len=st.integers(1, 20))
def test_every_token_but_the_first_is_predicted_once(n, seq_len):
    rows = parallel._rows(np.arange(1, n + 1), seq_len)
    assert rows[:, 1:].ravel()[: n - 1].tolist() == list(range(2, n + 1))
    assert (rows[:, 1:].ravel()[n - 1 :] == 0).all() and len(rows) * seq_len < n - 1 + seq_len
    assert (rows[1:, 0] == rows[:-1, -1]).all()


def test_bits_are_those_of_the_network_and_do_not_depend_on_other_languages():
    model, vocab = models.build(models.ladder(16, 259)), ByteVocab()
    params = model.init(jax.random.key(0))
    sentences = {"en": ["a cat", "dogs"], "xx": ["ж" * 9, "ab"]}
    found = parallel.costs(model, params, vocab, sentences, seq_len=16)
    tokens = np.array([1, *vocab.encode("a cat"), 1, *vocab.encode("dogs"), 1])
    logp_TV = jax.nn.log_softmax(model.apply(params, tokens[None, :-1])[0])
    bits = -np.take_along_axis(np.asarray(logp_TV), tokens[1:, None], axis=1).sum() / np.log(2)
    assert found["en"]["bits"] == pytest.approx(bits / 2, rel=1e-5)
    assert found["en"]["tokens"] == 11 / 2 and found["en"]["bytes"] == 9 / 2
    assert found["xx"]["tokens"] == 22 / 2 and found["xx"]["bytes"] == 20 / 2
    alone = parallel.costs(model, params, vocab, {"en": sentences["en"]}, seq_len=16)
    assert alone["en"]["bits"] == pytest.approx(found["en"]["bits"], rel=1e-5)


def test_sentences_are_the_same_in_each_language(tmp_path):
    path = tmp_path / "parallel.jsonl"
    lines = [{"lang": lang, "id": i, "text": f"{lang}{i}"} for lang in ("b", "a", "c") for i in (3, 1, 2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))  # c lacks sentence 2
    assert parallel.read_sentences(str(path), ("a", "c"), 2) == {"a": ["a1", "a3"], "c": ["c1", "c3"]}
    assert parallel.read_sentences(str(path), ("a", "b"), 3)["b"] == ["b1", "b2", "b3"]
    with pytest.raises(ValueError, match="2 sentences are in all languages, fewer than n_sentences=3"):
        parallel.read_sentences(str(path), ("a", "c"), 3)
    with pytest.raises(ValueError, match="no sentences with lang=d"):
        parallel.read_sentences(str(path), ("a", "d"), 1)
