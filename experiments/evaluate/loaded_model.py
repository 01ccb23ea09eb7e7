"""What is evaluated: the newest checkpoint of a run, or a Hugging Face folder, with its vocabulary."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import models
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.vocab import ByteVocab, SentencePieceVocab, Vocab, load_vocab
from experiments.evaluate.checkpoint_paths import find_run, is_hugging_face
from experiments.fields import from_json
from experiments.training.checkpoints.load import load
from models import ModelConfig, hf
from models.model import Model

__all__ = ["LoadedModel", "find_run", "load_model"]

EXPORTED = "isoflop.json"  # the run that a Hugging Face folder was exported from
LONGEST = 2048  # a longer context is not used without being asked for


@dataclass(frozen=True)
class LoadedModel:
    """A trained network, ready to be asked."""

    folder: Path
    config: RunConfig
    model: Model
    params: Any
    vocab: Vocab

    def token_bytes(self) -> list[bytes]:
        """What each of the network's ids says; it may have more of them than the vocabulary."""
        said = self.vocab.token_bytes()
        return said + [b""] * (self.model.config.vocab_size - len(said))


def load_model(path: Path) -> LoadedModel:
    """Loads a run directory, a Hugging Face folder, or the verification run of a study directory.

    Raises:
      ValueError: none of these, no checkpoint there that can be read, or a tokenizer that cannot.
    """
    folder = find_run(path)
    if is_hugging_face(folder):
        return _load_hugging_face(folder)
    config, params = load(folder)
    return LoadedModel(folder, config, models.build(config.model), params, load_vocab(config.data))


def _load_hugging_face(folder: Path) -> LoadedModel:
    """Optimizer, schedule and tokens of its configuration are stand-ins, unless we exported it."""
    exported = folder / EXPORTED
    vocab = None if exported.is_file() else hugging_face_vocab(folder)
    network, params = hf.load(folder)
    if exported.is_file():
        config = replace(from_json(RunConfig, json.loads(exported.read_text())), model=network)
        vocab = load_vocab(config.data)
    else:
        config = placeholder_run(network, DataConfig("imported", "", "imported", network.vocab_size))
    assert vocab is not None
    return LoadedModel(folder, config, models.build(network), params, vocab)


def placeholder_run(network: ModelConfig, data: DataConfig, seq_len: int | None = None) -> RunConfig:
    """A run with this network that never was; its context is what the network is meant for, 2048 at most."""
    n = seq_len or min(getattr(network, "max_len", 0) or LONGEST, LONGEST)
    return RunConfig(
        network, data, OptimizerConfig(lr=1e-5), ScheduleConfig(), batch_tokens=n, seq_len=n, n_tokens=n
    )


class HuggingFaceVocab:
    """A Hugging Face tokenizer.json, read by their `tokenizers` library; no special tokens are added."""

    def __init__(self, file: Path, eos_id: int):
        try:
            import tokenizers  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError(
                f"{file}: reading it needs the tokenizers library: pip install tokenizers"
            ) from None
        self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        self.size, self.eos_id = self._tokenizer.get_vocab_size(), eos_id

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids) -> str:
        return self._tokenizer.decode([int(i) for i in ids])

    def token_bytes(self) -> list[bytes]:
        """Unlike `decode`, with the space in front of a first word."""
        special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        by_bytes = "ByteLevel" in self._tokenizer.to_str()  # each byte is a printable character, as in GPT-2
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        alphabet = {chr(byte): byte for byte in printable} | {chr(256 + i): b for i, b in enumerate(others)}

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


def hugging_face_vocab(folder: Path) -> Vocab:
    """The tokenizer of a Hugging Face folder: tokenizer.json, or a SentencePiece model, or bytes (ByT5).

    Raises:
      ValueError: none of these is there, or no token that ends a text.
    """
    config = json.loads((folder / "config.json").read_text())
    eos_id = config.get("eos_token_id")
    eos_id = eos_id[0] if isinstance(eos_id, list) else eos_id
    settings = folder / "tokenizer_config.json"
    if settings.is_file() and "ByT5" in str(json.loads(settings.read_text()).get("tokenizer_class")):
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
