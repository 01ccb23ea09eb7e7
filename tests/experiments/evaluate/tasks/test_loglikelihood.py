"""Log-probabilities of continuations: those of the model on the whole text, whatever the batch."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from experiments.data.vocab import ByteVocab
from experiments.evaluate.tasks import loglikelihood as scoring
from experiments.evaluate.tasks.loglikelihood import (
    ScoringRow,
    encode_choices,
    encode_pair,
    plan_batches,
    score_all,
)
from models import ladder

VOCAB = ByteVocab()


def rows(n: int) -> list[ScoringRow]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 60, (n, 2))
    return [
        ScoringRow(rng.integers(3, 259, a).tolist(), rng.integers(3, 259, b % 9 + 1).tolist())
        for a, b in sizes
    ]


@pytest.mark.parametrize("family", ["transformer", "rwkv7"])
def test_scores_are_those_of_the_model_on_one_text(family, monkeypatch):
    monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", 256)
    model = models.build(ladder(16, VOCAB.size, family))
    params, asked = jax.jit(model.init)(jax.random.key(0)), rows(40)
    found = score_all(model, params, asked)
    texts = np.zeros((len(asked), 72), np.int32)
    for text, row in zip(texts, asked):
        text[: len(row)] = row.context + row.continuation
    logits = np.asarray(jax.jit(model.apply)(params, texts[:, :-1]))
    logprobs = np.asarray(jax.nn.log_softmax(logits))
    for b, (row, one) in enumerate(zip(asked, found)):
        places = np.arange(len(row.context), len(row))
        assert one.logprob == pytest.approx(logprobs[b, places - 1, row.continuation].sum(), rel=2e-4)
        assert one.greedy == (logits[b, places - 1].argmax(-1) == row.continuation).all()


def test_greedy_is_reported():
    model = models.build(ladder(16, VOCAB.size))
    params = jax.jit(model.init)(jax.random.key(0))
    best = int(np.asarray(model.apply(params, np.array([[5, 6]])))[0, -1].argmax())
    found = score_all(model, params, [ScoringRow([5, 6], [best]), ScoringRow([5, 6], [best ^ 1])])
    assert [one.greedy for one in found] == [True, False]


def test_a_network_with_an_encoder_reads_the_context_as_its_source():
    model = models.build(ladder(16, VOCAB.size, "encdec"))
    params, row = jax.jit(model.init)(jax.random.key(0)), ScoringRow([1, 70, 71, 72], [80, 81])
    [one] = score_all(model, params, [row])
    source = {"source_BS": np.array([[1, 70, 71]])}
    logprobs = jax.nn.log_softmax(model.apply(params, np.array([[72, 80]]), **source))[0]
    assert one.logprob == pytest.approx(float(logprobs[0, 80] + logprobs[1, 81]), rel=1e-4)


def test_batches_hold_whole_groups_and_one_length_has_one_shape():
    groups = [[row, row, row] for row in rows(200)]
    batches = list(plan_batches(groups, VOCAB.size))
    assert sorted(i for batch in batches for i in batch.groups) == list(range(200))
    for batch in batches:
        n_rows, length, longest = batch.shape
        assert 3 * len(batch.groups) <= n_rows
        assert max(len(groups[i][0]) for i in batch.groups) <= length + 1
        assert max(len(groups[i][0].continuation) for i in batch.groups) <= longest
    assert len({batch.shape for batch in batches}) == len({batch.shape[1] for batch in batches})


def test_a_group_larger_than_a_batch_is_a_batch(monkeypatch):
    monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", 64)
    [batch] = plan_batches([[ScoringRow([1] * 20, [2])] * 30], VOCAB.size)
    assert batch.groups == [0] and batch.shape[0] == 30


def test_spaces_at_the_end_of_a_context_belong_to_what_follows():
    row = encode_pair(VOCAB, "a \n", "b")
    assert VOCAB.decode(row.context) == "a" and VOCAB.decode(row.continuation) == " \nb"
    assert row.context[0] == VOCAB.eos_id and encode_pair(VOCAB, "", "b").context == [VOCAB.eos_id]


class LongestFirst:
    """Letters, and some tokens that are taken wherever they match; `space` goes in front of any text."""

    size, eos_id, begin_ids, source_end_ids = 300, 1, (1,), ()

    def __init__(self, *tokens: str, space: str = ""):
        self.tokens = [*sorted(tokens, key=len, reverse=True), *map(chr, range(32, 127))]
        self.space = space

    def encode(self, text: str) -> list[int]:
        text, ids = self.space + text, []
        while text:
            ids.append(next(i for i, token in enumerate(self.tokens) if text.startswith(token)) + 3)
            text = text[len(self.tokens[ids[-1] - 3]) :]
        return ids

    def decode(self, ids) -> str:
        return "".join(self.tokens[i - 3] for i in ids).removeprefix(self.space)

    def token_bytes(self) -> list[bytes]:
        return [b""] * 3 + [token.encode() for token in self.tokens]


@given(st.lists(st.text("abc ", min_size=2, max_size=4), max_size=6), st.sampled_from(["", " "]), st.data())
def test_however_tokens_merge_context_and_continuation_spell_the_text(merged, space, data):
    vocab = LongestFirst(*merged, space=space)
    context, letters = data.draw(st.text("abc ", max_size=8)), st.text("abc", min_size=1, max_size=4)
    choices = data.draw(st.lists(letters, min_size=1, max_size=3))
    for row, choice in zip(encode_choices(vocab, context, choices), choices, strict=True):
        assert row.continuation and row.context[0] == vocab.eos_id
        assert vocab.decode(row.context[1:] + row.continuation) == context + choice


def test_where_one_choice_merges_with_the_context_all_get_tokens_of_their_own():
    """As "ab" is one token, the harness would score nothing of "b", and call it certain."""
    vocab = LongestFirst("ab", "bc")
    merging, other = encode_choices(vocab, "xa", ["b", "cc"])
    assert merging.context == other.context == [1, *vocab.encode("xa")]
    assert [merging.continuation, other.continuation] == [vocab.encode("b"), vocab.encode("cc")]
    assert encode_choices(vocab, "xa", ["cb", "c"])[0] == encode_pair(vocab, "xa", "cb")


def test_a_continuation_without_tokens_is_refused():
    with pytest.raises(ValueError, match="no token for '' after 'xa'"):
        encode_pair(LongestFirst(), "xa", "")
