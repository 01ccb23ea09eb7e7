"""Loss and bits per byte: hand-computed cases, agreement with training's validation, honest intervals."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from experiments.data import batches
from experiments.data.vocab import ByteVocab
from experiments.evaluate.language_modelling.perplexity import perplexity
from experiments.evaluate.language_modelling.token_losses import token_losses
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText, read_files
from experiments.evaluate.statistics.intervals import ratios
from models import TransformerConfig
from models.model import Model

VOCAB = ByteVocab()
CONFIG = TransformerConfig(
    vocab_size=VOCAB.size, d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_head=8, d_ff=24
)


def table_model() -> Model:
    """A token's probability is params[its position in the window]; the rest is spread over all the others."""

    def hidden(probs_T, tokens_BT):
        probs_BT1 = jnp.broadcast_to(probs_T[: tokens_BT.shape[1], None], (*tokens_BT.shape, 1))
        right_BTV = jax.nn.one_hot(
            tokens_BT + 1, VOCAB.size
        )  # the model guesses the next letter of the alphabet
        return jnp.log(jnp.where(right_BTV == 1, probs_BT1, (1 - probs_BT1) / (VOCAB.size - 1))), {}

    return Model(CONFIG, None, hidden, lambda _, logits: logits, None, None)


def text_of(*documents: str) -> TokenizedText:
    pieces = [[VOCAB.eos_id], *([*VOCAB.encode(d), VOCAB.eos_id] for d in documents)]
    return TokenizedText(
        np.concatenate(pieces).astype(np.uint16), np.cumsum([len(piece) for piece in pieces])
    )


def test_a_text_computed_by_hand():
    # Windows of 3: inputs EOS a b | c EOS d; targets a b c | EOS d EOS; b and c are guessed: 1/4 and 1/2.
    probs_T = jnp.asarray([0.125, 0.25, 0.5])
    found = perplexity(table_model(), probs_T, text_of("abc", "d"), VOCAB, context=3)
    wrong = [0.875 / 258, 0.75 / 258, 0.5 / 258]
    nats = -sum(map(math.log, [wrong[0], 0.25, 0.5, wrong[0], wrong[1], wrong[2]]))
    assert (found.n_documents, found.n_tokens, found.n_bytes) == (2, 6, 4)
    assert found.loss.value == pytest.approx(nats / 6, rel=1e-6)
    assert found.bits_per_byte.value == pytest.approx(nats / math.log(2) / 4, rel=1e-6)


def test_bytes_that_a_vocabulary_loses_count_as_text():
    """It has no letter ü: "fünf" decodes to three bytes of five. Whole or by document, known or not."""

    class WithoutUmlauts(ByteVocab):
        def encode(self, text):
            return super().encode(text.replace("ü", ""))

    vocab, documents, probs_T = WithoutUmlauts(), ["fünf", "nun"], jnp.asarray([0.125, 0.25, 0.5])
    pieces = [[1], *([*vocab.encode(document), 1] for document in documents)]
    tokens, offsets = np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces])
    found = [
        perplexity(table_model(), probs_T, TokenizedText(tokens, offsets, n_bytes=n_bytes), vocab, context=3)
        for n_bytes in (None, np.array([5, 3]), 8)
    ]
    assert [(one.n_bytes, one.n_bytes_lost) for one in found] == [(6, 0), (8, 2), (8, 2)]
    for one in found[1:]:
        assert one.bits_per_byte.value == pytest.approx(found[0].bits_per_byte.value * 6 / 8)
        assert one.loss == found[0].loss


def test_every_batch_size_and_a_cut_last_window_give_the_same(monkeypatch):
    probs_T, tokens = jnp.linspace(0.1, 0.9, 8), text_of("alphabetically " * 7).tokens
    whole = token_losses(table_model(), probs_T, tokens, 8)
    monkeypatch.setattr(
        "experiments.evaluate.language_modelling.token_losses.LOGITS_PER_BATCH", 3 * 8 * VOCAB.size
    )
    monkeypatch.setattr("experiments.evaluate.language_modelling.token_losses.LEAST_TOKENS", 0)
    np.testing.assert_array_equal(token_losses(table_model(), probs_T, tokens, 8), whole)
    assert len(whole) == len(tokens) - 1
    np.testing.assert_array_equal(token_losses(table_model(), probs_T, tokens[:30], 8), whole[:29])


def test_losses_are_those_of_training_windows():
    model = models.build(CONFIG)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = np.random.default_rng(0).integers(3, 259, 8 * 20 + 1).astype(np.uint16)
    rows = batches.take_windows(tokens, np.arange(20), 8)
    logprobs = jax.nn.log_softmax(jax.jit(model.apply)(params, rows[:, :-1]))
    expected = -np.take_along_axis(np.asarray(logprobs), rows[:, 1:, None], axis=-1).ravel()
    np.testing.assert_allclose(token_losses(model, params, tokens, 8), expected, rtol=1e-5)


def test_uniform_model_costs_the_logarithm_of_the_vocabulary():
    def logits(_, tokens_BT):
        return jnp.zeros((*tokens_BT.shape, VOCAB.size))

    uniform = Model(CONFIG, None, lambda _, tokens_BT: (tokens_BT, {}), logits, None, None)
    found = perplexity(uniform, None, text_of(*["Grüße"] * 12), VOCAB, context=16)
    assert found.loss.value == pytest.approx(math.log(259), rel=1e-6)
    assert found.bits_per_byte.value == pytest.approx(math.log2(259) * 8 / 7, rel=1e-6)  # 7 bytes and EOS
    assert found.loss.se == pytest.approx(0, abs=1e-6)
    assert found.resampled == "documents"


def test_intervals_hold_the_truth_as_often_as_they_say():
    # Documents differ in length and level; the truth is the ratio of expectations.
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        lengths = rng.integers(20, 200, size=80)
        nats = lengths * rng.normal(2.0, 0.5, size=80)
        [estimate] = ratios(nats, [lengths])
        hits += estimate.lo <= 2.0 <= estimate.hi
    assert 166 <= hits <= 192  # 0.9 · 200 give or take three standard deviations


def test_few_documents_resample_windows_and_one_window_has_no_interval():
    probs_T = jnp.linspace(0.1, 0.9, 4)
    few = perplexity(table_model(), probs_T, text_of("abcdefgh ijk"), VOCAB, context=4)
    assert few.resampled == "windows" and few.loss.lo < few.loss.value < few.loss.hi
    one = perplexity(table_model(), probs_T, text_of("ab"), VOCAB, context=4)
    assert math.isnan(one.loss.se) and math.isfinite(one.loss.value)


def test_a_diverged_checkpoint_is_refused():
    with pytest.raises(ValueError, match="diverged"):
        perplexity(table_model(), jnp.full(4, jnp.nan), text_of("ab"), VOCAB, context=4)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="empty"):
        perplexity(table_model(), jnp.ones(4), read_files(str(tmp_path / "a.txt"), VOCAB), VOCAB, context=4)
