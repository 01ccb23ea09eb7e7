"""Text to token ids and back without TensorFlow: the ids that seqio's vocabularies gave the cache."""

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.data.cache import EOS
from experiments.files import read_json
from experiments.files.extras import install_command

END_TOKENS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]")


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


class HuggingFaceVocab:
    """A Hugging Face tokenizer.json, read by their `tokenizers` library; no special tokens are added."""

    def __init__(self, file: Path, eos_id: int):
        try:
            import tokenizers  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError(
                f"{file}: reading it needs the tokenizers library: {install_command('tokenizers')}"
            ) from None
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more precise
            raise ValueError(f"{file} is no tokenizer that can be read: {error}") from None
        self.size, self.eos_id = self._tokenizer.get_vocab_size(), eos_id

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode([int(i) for i in ids])

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name."""
        return self._tokenizer.token_to_id(token)

    def token_bytes(self) -> list[bytes]:
        """Unlike `decode`, with the space in front of a first word."""
        special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        by_bytes = "ByteLevel" in self._tokenizer.to_str()
        alphabet = {letter: byte for byte, letter in enumerate(byte_letters())}

        def said(i: int) -> bytes:
            piece = self._tokenizer.id_to_token(i)
            if piece is None or i in special:
                return b""
            if by_bytes:
                return bytes(alphabet[c] for c in piece) if alphabet.keys() >= set(piece) else piece.encode()
            if re.fullmatch("<0x[0-9A-F]{2}>", piece):
                return bytes([int(piece[1:-1], 16)])
            return piece.replace("\u2581", " ").encode()

        return [said(i) for i in range(self.size)]


def byte_letters() -> list[str]:
    """The printable character that byte-level tokenizers write for each byte (GPT-2's)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def hugging_face_vocab(folder: Path) -> Vocab:
    """The tokenizer of a Hugging Face folder: tokenizer.json, or a SentencePiece model, or bytes (ByT5).

    Raises:
      ValueError: none of these is there, or no token that ends a text.
    """
    config = read_json(folder / "config.json")
    eos_id = config.get("eos_token_id")
    eos_id = eos_id[0] if isinstance(eos_id, list) else eos_id
    settings = folder / "tokenizer_config.json"
    if settings.is_file() and "ByT5" in str(read_json(settings).get("tokenizer_class")):
        return ByteVocab()
    if eos_id is None:
        raise ValueError(f"{folder}/config.json has no eos_token_id; documents need a token that ends them")
    if (folder / "tokenizer.json").is_file():
        return HuggingFaceVocab(folder / "tokenizer.json", eos_id)
    for name in ("tokenizer.model", "spiece.model"):
        if (folder / name).is_file():
            vocab = SentencePieceVocab(folder / name)
            vocab.eos_id = eos_id
            return vocab
    raise ValueError(
        f"{folder} has no tokenizer that can be read: tokenizer.json, tokenizer.model or spiece.model; if "
        "its tokens are bytes, isoflop import it with --vocab bytes"
    )


def read_tokenizer(file: Path) -> HuggingFaceVocab:
    """A tokenizer.json to train with; the token that ends a text is that of tokenizer_config.json beside it,
    or one that goes by a usual name (END_TOKENS).

    Raises:
      ValueError: it cannot be read, or has no token that ends a text.
    """
    vocab = HuggingFaceVocab(file, -1)
    settings = file.with_name("tokenizer_config.json")
    said = read_json(settings).get("eos_token") if settings.is_file() else None
    said = said.get("content") if isinstance(said, dict) else said
    for token in (said, *END_TOKENS):
        eos_id = vocab.id_of(token) if token else None
        if eos_id is not None:
            vocab.eos_id = eos_id
            return vocab
    raise ValueError(
        f"{file} has no token that ends a text ({', '.join(END_TOKENS)}); name it as eos_token in "
        "tokenizer_config.json beside it"
    )


def read_vocab(name: str) -> Vocab:
    """The vocabulary "bytes", of a tokenizer.json, or of a SentencePiece model.

    Raises:
      ValueError: it is none of these, or cannot be read.
    """
    if name == "bytes":
        return ByteVocab()
    file = Path(name).expanduser()
    if file.is_file() and file.suffix == ".json":
        return read_tokenizer(file)
    if file.is_file() and file.suffix == ".model":
        return SentencePieceVocab(file)
    raise ValueError(
        f"vocabulary {name!r}: expected bytes, a tokenizer.json or a SentencePiece .model that exists"
    )


@dataclass(frozen=True)
class TokenCounter:
    """Text to its number of tokens. Other processes can be sent it: they read the vocabulary themselves."""

    vocab: str  # as `read_vocab` takes it

    def __call__(self, text: str) -> int:
        return len(_cached_vocab(self.vocab).encode(text))


@functools.cache
def _cached_vocab(name: str) -> Vocab:
    return read_vocab(name)
