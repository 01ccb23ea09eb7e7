"""The vocabulary of a data configuration; what vocabularies are is in `vocabularies`."""

import dataclasses
from pathlib import Path

from experiments.data.cache import read_manifest
from experiments.data.prepare import prepare
from experiments.data.vocabularies.hugging_face import has_tokenizer, hugging_face_vocab
from experiments.data.vocabularies.vocab import (
    ByteVocab,
    HuggingFaceVocab,
    SentencePieceVocab,
    Vocab,
    begun,
    prompt_ids,
)
from experiments.data_configs import DataConfig

__all__ = [
    "ByteVocab",
    "HuggingFaceVocab",
    "SentencePieceVocab",
    "Vocab",
    "begun",
    "hugging_face_vocab",
    "load_vocab",
    "prompt_ids",
    "with_own_tokenizer",
]


def with_own_tokenizer(data: DataConfig, run: Path) -> DataConfig:
    """A run's data, where an imported vocabulary is that of the tokenizer in its folder, if there is one,
    wherever it came from: the folder may move."""
    if data.vocab != "imported" or not has_tokenizer(run):
        return data
    return dataclasses.replace(data, path=str(run.absolute()))


def load_vocab(config: DataConfig, root: Path | str | None = None) -> Vocab:
    """The vocabulary of a data configuration: a model or tokenizer.json is read from the prepared cache, what
    is "imported" from the folder with a Hugging Face tokenizer at `config.path`.

    Raises:
      ValueError: unknown vocabulary, or the cache cannot be prepared.
    """
    if config.vocab == "imported" and config.path:
        return hugging_face_vocab(Path(config.path))
    if config.vocab == "imported":
        raise ValueError(
            "this imported model has no tokenizer beside it; put its tokenizer.json or SentencePiece model "
            "into the folder, or import it with --vocab bytes if its tokens are bytes"
        )
    if config.vocab == "bytes":
        return ByteVocab()
    folder = prepare(config, root)
    if (folder / "tokenizer.json").is_file():
        return HuggingFaceVocab(folder / "tokenizer.json", read_manifest(folder)["tokenizer"]["eos_id"])
    return SentencePieceVocab(folder / "vocab.model")
