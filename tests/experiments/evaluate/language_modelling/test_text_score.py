"""Token losses on disk: those of one uninterrupted pass, whatever was there before; and by groups."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data.vocab import ByteVocab
from experiments.evaluate.language_modelling import perplexity, token_losses
from experiments.evaluate.language_modelling.text_score import TextScore, cached_losses
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText
from tests.experiments.evaluate.answered import untrained

VOCAB, CONTEXT = ByteVocab(), 16


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))
    monkeypatch.setattr(token_losses, "LOGITS_PER_BATCH", 4 * CONTEXT * VOCAB.size)
    monkeypatch.setattr(token_losses, "LEAST_TOKENS", 0)


@pytest.fixture(scope="module")
def loaded() -> Any:
    return untrained()


def text_of(*documents: str) -> TokenizedText:
    pieces = [[VOCAB.eos_id], *([*VOCAB.encode(document), VOCAB.eos_id] for document in documents)]
    return TokenizedText(
        np.concatenate(pieces).astype(np.uint16), np.cumsum([len(piece) for piece in pieces])
    )


def test_what_a_kill_has_left_is_gone_on_from(loaded, tmp_path):
    tokens = np.random.default_rng(0).integers(3, 259, 20 * CONTEXT + 6).astype(np.uint16)
    whole = token_losses.token_losses(loaded.model, loaded.params, tokens, CONTEXT)
    np.testing.assert_array_equal(cached_losses("a", lambda: loaded, tokens, CONTEXT), whole)
    [log] = (tmp_path / "evaluate").glob("*.nats")
    content = log.read_bytes()
    for cut in (0, 3, 4 * CONTEXT * 5 + 9, len(content) - 1):
        log.write_bytes(content[:cut])
        done: list[int] = []
        found = cached_losses("a", lambda: loaded, tokens, CONTEXT, lambda n, _, seen=done: seen.append(n))
        np.testing.assert_allclose(found, whole, rtol=1e-6)
        assert done[-1] == len(whole) and log.stat().st_size == len(content)

    def never():
        raise AssertionError("opened though all is known")

    np.testing.assert_allclose(cached_losses("a", never, tokens, CONTEXT), whole, rtol=1e-6)


def test_groups_add_up_to_the_whole(loaded):
    text = text_of(*(f"document {i} " * (i % 7 + 1) for i in range(24)))
    nats = token_losses.token_losses(loaded.model, loaded.params, text.tokens, CONTEXT)
    found, whole = (
        perplexity.document_losses(nats, text, VOCAB),
        perplexity.summarise(nats, text, VOCAB, CONTEXT),
    )
    labels = [str(i % 3) for i in range(24)]
    parts = perplexity.by_document(found, labels, CONTEXT)
    assert sum(one.n_bytes for one in parts.values()) == whole.n_bytes
    total = sum(one.loss.value * one.n_tokens for one in parts.values())
    assert total / whole.n_tokens == pytest.approx(whole.loss.value)
    positions = perplexity.by_position(nats, found, CONTEXT)
    assert list(positions) == ["0", "1", "2-3", "4-7", "8-15"]
    assert positions["0"].value == pytest.approx(nats[::CONTEXT].mean(), rel=1e-5)
    assert positions["8-15"].value == pytest.approx(
        np.mean([nats[i] for i in range(len(nats)) if i % CONTEXT >= 8]), rel=1e-5
    )


def test_only_the_same_documents_are_compared(loaded):
    def score(*documents: str) -> TextScore:
        text = text_of(*documents)
        nats = token_losses.token_losses(loaded.model, loaded.params, text.tokens, CONTEXT)
        found = perplexity.document_losses(nats, text, VOCAB)
        return TextScore(Path("run"), "t", text, found, perplexity.summarise(nats, text, VOCAB, CONTEXT), {})

    one = score(*(f"text {i}" for i in range(12)))
    assert one.difference(one).value == 0
    with pytest.raises(ValueError, match="not the same documents"):
        one.difference(score(*(f"longer text {i}" for i in range(12))))
