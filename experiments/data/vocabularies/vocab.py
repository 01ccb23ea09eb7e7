"""Text to token ids and back without TensorFlow: the ids that seqio's vocabularies gave the cache."""

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from experiments.data.cache import EOS
from experiments.files import read_json
from experiments.files.extras import install_command

NOTHING: Mapping[str, int] = MappingProxyType({})
END_TOKENS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]")


class Vocab(Protocol):
    """`size` counts every id (0 is padding); `eos_id` ends a document. A text that is to be continued stands
    between `begin_ids` and `source_end_ids`: of ours it begins as after another document, and it has an end
    only where an encoder reads it and a decoder goes on from another token (T5)."""

    size: int
    eos_id: int
    begin_ids: tuple[int, ...]
    source_end_ids: tuple[int, ...]

    def encode(self, text: str) -> list[int]:
        """The ids of a text, no end-of-document id among them."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special ids have none."""
        ...

    def token_bytes(self) -> list[bytes]:
        """The bytes of each id within a text; b"" of special ids."""
        ...


def begun(vocab: Vocab, ids: Sequence[int]) -> list[int]:
    """The ids of a text as those of a prompt; not empty, as a network needs a token to go on from."""
    return [*vocab.begin_ids, *ids, *vocab.source_end_ids] or [vocab.eos_id]


def prompt_ids(vocab: Vocab, text: str) -> list[int]:
    """A text as a network is asked to continue it."""
    return begun(vocab, vocab.encode(text))


class ByteVocab:
    """UTF-8 bytes shifted by three (ByT5, arXiv:2105.13626): 0 padding, 1 end of document, 2 unknown."""

    size = 259
    eos_id = EOS
    begin_ids: tuple[int, ...] = (EOS,)
    source_end_ids: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        return [byte + 3 for byte in text.encode("utf-8")]

    def decode(self, ids: Iterable[int]) -> str:
        """Special ids and bytes that are not UTF-8 are left out, as seqio does."""
        return bytes(int(i) - 3 for i in ids if 3 <= i < 259).decode("utf-8", errors="ignore")

    def token_bytes(self) -> list[bytes]:
        return [b""] * 3 + [bytes([byte]) for byte in range(256)]


class SentencePieceVocab:
    """A SentencePiece model. Any text without U+2581 survives encode and decode (bytes are the fallback).

    `added` are the ids of tokens besides the model's, by their text, and of those that a text names although
    the model does not read them in it, such as "</s>". They are special: `decode` leaves them out.
    """

    eos_id = EOS
    begin_ids: tuple[int, ...] = (EOS,)
    source_end_ids: tuple[int, ...] = ()

    def __init__(self, model: Path | str, added: Mapping[str, int] = NOTHING):
        import sentencepiece  # here: byte models, the default, do without it

        self._processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self._added, self._added_ids = dict(added), set(added.values())
        names = sorted(map(re.escape, added), key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(names)})") if names else None
        self.size: int = max([self._processor.vocab_size(), *(i + 1 for i in self._added_ids)])

    def encode(self, text: str) -> list[int]:
        if self._cut is None:
            return self._processor.encode(text)
        pieces = [
            [self._added[piece]] if piece in self._added else self._processor.encode(piece)
            for piece in self._cut.split(text)
        ]
        return list(itertools.chain.from_iterable(pieces))

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode([int(i) for i in ids if int(i) not in self._added_ids])

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name."""
        known = self._added.get(token, self._processor.piece_to_id(token))
        return None if known == self._processor.unk_id() else known

    def token_bytes(self) -> list[bytes]:
        """Unlike `decode`, with the space in front of a first word."""
        model = self._processor

        def bytes_of(i: int) -> bytes:
            if i in self._added_ids or i >= model.vocab_size():
                return b""
            piece = model.id_to_piece(i)
            if model.is_byte(i):
                return bytes([int(piece[1:-1], 16)])  # <0xNN>
            special = model.is_control(i) or model.is_unknown(i) or model.is_unused(i)
            return b"" if special else piece.replace("\u2581", " ").encode()

        return [bytes_of(i) for i in range(self.size)]


class HuggingFaceVocab:
    """A Hugging Face tokenizer.json, read by their `tokenizers` library; no special tokens are added."""

    source_end_ids: tuple[int, ...] = ()

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
        self.begin_ids: tuple[int, ...] = (eos_id,)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode([int(i) for i in ids])

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name."""
        return self._tokenizer.token_to_id(token)

    def ids_in_front(self) -> tuple[int, ...]:
        """The special tokens that the tokenizer itself puts in front of a text, as Llama's <s>."""
        made = self._tokenizer.encode("a")
        special = zip(made.ids, made.special_tokens_mask)
        return tuple(i for i, _ in itertools.takewhile(lambda each: each[1], special))

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
            vocab.eos_id, vocab.begin_ids = eos_id, (eos_id,)
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
