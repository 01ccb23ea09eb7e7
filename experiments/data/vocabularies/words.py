"""Bytes and whole words: the vocabulary of a corpus of few words, in which a name or a fact is one token."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

SPACE = "\u2581"  # SentencePiece's sign for it
SPECIAL = ("<pad>", "</s>", "<unk>")  # ids 0, 1, 2, as in every vocabulary made here
WORD = re.compile(r" ?[^\W_]+| ?[^\w\s]")


def train_words(texts: Iterable[str], vocab_size: int) -> bytes:
    """A SentencePiece model of bytes and the most frequent words and signs, each with the space before it and
    without; nothing is lost of other text, which falls into bytes. The same texts give the same one.

    Raises:
      ValueError: no room for a word beside 256 bytes, the space and 3 special tokens, or more than needed.
    """
    from sentencepiece import sentencepiece_model_pb2

    protobuf: Any = sentencepiece_model_pb2  # its classes are made when it is imported
    room = vocab_size - len(SPECIAL) - 256 - 1
    counts = Counter(word for text in texts for word in WORD.findall(text))
    words = sorted(counts, key=lambda word: (-counts[word], word))[:room]
    if not 0 < room <= len(words):
        most = vocab_size - room + len(counts)
        raise ValueError(f"data.vocab_size={vocab_size}; bytes and words of this text are 261 to {most}")
    model, piece = protobuf.ModelProto(), protobuf.ModelProto.SentencePiece
    for name, kind in zip(SPECIAL, (piece.CONTROL, piece.CONTROL, piece.UNKNOWN), strict=True):
        model.pieces.add(piece=name, score=0.0, type=kind)
    for byte in range(256):
        model.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=piece.BYTE)
    for word in (" ", *words):  # unigram model: the segmentation of the highest sum, so of the fewest words
        model.pieces.add(piece=word.replace(" ", SPACE), score=-1.0, type=piece.NORMAL)
    trained, normal = model.trainer_spec, model.normalizer_spec
    trained.model_type, trained.vocab_size, trained.byte_fallback = trained.UNIGRAM, vocab_size, True
    trained.pad_id, trained.eos_id, trained.unk_id, trained.bos_id = 0, 1, 2, -1
    trained.pad_piece, trained.eos_piece, trained.unk_piece = SPECIAL
    normal.name, normal.add_dummy_prefix, normal.remove_extra_whitespaces = "identity", False, False
    return model.SerializeToString()
