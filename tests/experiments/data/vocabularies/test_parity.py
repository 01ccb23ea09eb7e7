"""Byte-pair encoding by language: merges counted by hand, and what parity buys the smaller language."""

import json

import pytest

from experiments.data.vocabularies.parity import SPECIAL, train_parity_bpe
from experiments.data.vocabularies.tax import inequality, measure_tax
from experiments.data.vocabularies.vocab import HuggingFaceVocab, read_tokenizer
from tests.extras import extra

extra("tokenizers", "hf")

BYTES = len(SPECIAL) + 256
WORDS = {
    "a": ["the house by the river was empty", "the man thought of the house"] * 30,
    "b": ["ein altes haus am fluss stand leer", "niemand dachte an das haus"],
}


def vocab_of(tmp_path, content: str) -> HuggingFaceVocab:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    return read_tokenizer(path)


def merges_of(content: str) -> list[str]:
    return ["".join(pair) for pair in json.loads(content)["model"]["merges"]]


def test_plain_merges_are_those_counted_by_hand():
    """abab ab: (a, b) three times; then (ab, ab) once and (space, ab) once: the smaller ids first."""
    made = train_parity_bpe({"x": ["abab ab"]}, BYTES + 3, parity=False)
    assert merges_of(made) == ["ab", "Ġab", "abab"]


def test_the_worst_compressed_language_chooses():
    """Both take a token a character, so the first by name merges; then the other, which now takes more."""
    made = train_parity_bpe({"x": ["aaaa"] * 50, "y": ["bcbc"]}, BYTES + 4)
    assert merges_of(made) == ["aa", "bc", "aaaa", "bcbc"]
    plain = train_parity_bpe({"x": ["aaaa"] * 50, "y": ["bcbc"]}, BYTES + 2, parity=False)
    assert merges_of(plain) == ["aa", "aaaa"]


def test_parallel_sentences_decide_instead_of_characters():
    """A sentence takes three tokens in y and one in x, whatever the characters of the text."""
    texts = {"x": ["aaaa"], "y": ["bcbcbc"]}
    made = train_parity_bpe(texts, BYTES + 1, {"x": ["a"], "y": ["bcb"]})
    assert merges_of(made) == ["bc"]
    with pytest.raises(ValueError, match="parallel sentences: there are none in y"):
        train_parity_bpe(texts, BYTES + 1, {"x": ["a"]})


def test_a_language_with_little_text_pays_less(tmp_path):
    sentences = {name: texts[:2] for name, texts in WORDS.items()}
    taxes = {}
    for parity in (False, True):
        vocab = vocab_of(tmp_path, train_parity_bpe(WORDS, BYTES + 45, parity=parity))
        taxes[parity] = inequality(measure_tax(sentences, vocab, "a"))
    assert taxes[True] < 0.6 * taxes[False]


def test_any_text_survives_and_ids_are_ours(tmp_path):
    vocab = vocab_of(tmp_path, train_parity_bpe(WORDS, BYTES + 20))
    assert vocab.size == BYTES + 20 and vocab.eos_id == 1
    for text in ("the house", " Zażółć 日本\n\t", "", "a  b"):
        ids = vocab.encode(text)
        assert vocab.decode(ids) == text
        assert b"".join(vocab.token_bytes()[i] for i in ids) == text.encode()


def test_the_same_texts_give_the_same_tokenizer():
    backwards = dict(reversed(WORDS.items()))
    assert train_parity_bpe(WORDS, BYTES + 20) == train_parity_bpe(backwards, BYTES + 20)


def test_sizes_that_the_text_does_not_allow_are_said():
    with pytest.raises(ValueError, match="vocab_size=258; 256 bytes and 3 special tokens need 259"):
        train_parity_bpe(WORDS, 258)
    with pytest.raises(ValueError, match="vocab_size=300: the text has only 260 different pieces"):
        train_parity_bpe({"x": ["ab"]}, 300)
