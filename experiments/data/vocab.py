"""Text to token ids and back without TensorFlow: the ids that seqio's vocabularies gave the cache."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from experiments.config import DataConfig
from experiments.data.cache import EOS
from experiments.data.prepare import prepare


class Vocab(Protocol):
    """`size` counts every id (0 is padding); `eos_id` ends a document."""

    size: int
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """The ids of a text, no end-of-document id among them."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special ids have none."""
        ...

    def token_bytes(self) -> list[bytes]:
        """The bytes of each id within a text; b"" of special ids."""
        ...


class ByteVocab:
    """UTF-8 bytes shifted by three (ByT5, arXiv:2105.13626): 0 padding, 1 end of document, 2 unknown."""

    size = 259
    eos_id = EOS

    def encode(self, text: str) -> list[int]:
        return [byte + 3 for byte in text.encode("utf-8")]

    def decode(self, ids: Iterable[int]) -> str:
        """Special ids and bytes that are not UTF-8 are left out, as seqio does."""
        return bytes(int(i) - 3 for i in ids if 3 <= i < 259).decode("utf-8", errors="ignore")

    def token_bytes(self) -> list[bytes]:
        return [b""] * 3 + [bytes([byte]) for byte in range(256)]


class SentencePieceVocab:
    """A SentencePiece model. Any text without U+2581 survives encode and decode (bytes are the fallback)."""

    eos_id = EOS

    def __init__(self, model: Path | str):
        import sentencepiece  # here: byte models, the default, do without it

        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self.size: int = self._processor.vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode([int(i) for i in ids])

    def token_bytes(self) -> list[bytes]:
        """Unlike `decode`, with the space in front of a first word."""
        model = self._processor

        def bytes_of(i: int) -> bytes:
            piece = model.id_to_piece(i)
            if model.is_byte(i):
                return bytes([int(piece[1:-1], 16)])  # <0xNN>
            special = model.is_control(i) or model.is_unknown(i) or model.is_unused(i)
            return b"" if special else piece.replace("\u2581", " ").encode()

        return [bytes_of(i) for i in range(self.size)]


def load_vocab(config: DataConfig, root: Path | str | None = None) -> Vocab:
    """The vocabulary of a data configuration; a SentencePiece model is read from the prepared cache.

    Raises:
      ValueError: unknown vocabulary, or the cache cannot be prepared.
    """
    if config.vocab == "imported":
        raise ValueError(
            "the vocabulary of this imported model cannot be read; use it by token ids from Python "
            "(models.decoding.sample), or import it with --vocab bytes if its tokens are bytes"
        )
    if config.vocab == "bytes":
        return ByteVocab()
    return SentencePieceVocab(prepare(config, root) / "vocab.model")
