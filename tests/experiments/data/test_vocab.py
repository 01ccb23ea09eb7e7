"""Vocabularies without TensorFlow (that they agree with seqio's is tested in test_tasks.py)."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from experiments.data.vocab import ByteVocab, SentencePieceVocab, load_vocab
from experiments.data_configs import DataConfig

TEXT = st.text(st.characters(codec="utf-8"))


@given(TEXT)
def test_bytes_survive_encode_and_decode(text):
    vocab = ByteVocab()
    ids = vocab.encode(text)
    assert vocab.decode([*ids, vocab.eos_id]) == text
    assert all(3 <= i < vocab.size for i in ids)


def test_bytes_leave_out_what_is_no_text():
    vocab = ByteVocab()
    assert vocab.decode([0, 1, 2, *vocab.encode("a"), 258, *vocab.encode("é")[:1], 300]) == "a"


def test_byte_vocabulary_needs_neither_cache_nor_tensorflow(tmp_path):
    assert load_vocab(DataConfig(), tmp_path / "nothing").size == 259
    code = """
import sys
from experiments.data_configs import DataConfig
from experiments.data.vocab import load_vocab
load_vocab(DataConfig()).encode("text")
print(sorted({"tensorflow", "seqio", "sentencepiece"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(TEXT)
def test_token_bytes_are_what_a_text_is_made_of(text):
    vocab = ByteVocab()
    pieces = vocab.token_bytes()
    assert len(pieces) == vocab.size
    assert b"".join(pieces[i] for i in [*vocab.encode(text), vocab.eos_id]) == text.encode()


def test_token_bytes_of_sentencepiece(tmp_path):
    import sentencepiece

    texts = iter(["the cat sat on the mat", "a cat on a mat", "the mat"])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts,
        model_prefix=str(tmp_path / "tiny"),
        vocab_size=290,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    vocab = SentencePieceVocab(tmp_path / "tiny.model")
    pieces = vocab.token_bytes()
    for text in ("the cat", "mat €é", "{}"):
        assert b"".join(pieces[i] for i in vocab.encode(text)).decode() == f" {text}"  # a word begins with it
    assert [pieces[i] for i in (0, 1, 2)] == [b""] * 3  # unknown, begin, end
