"""The vocabulary that a corpus is tokenized with: bytes, or a SentencePiece model trained on it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.config import DataConfig
from experiments.data.cache import EOS

if TYPE_CHECKING:
    import seqio

VOCABULARY_BYTES = 10_000_000  # of training text that a SentencePiece model is made from


def make_vocabulary(config: DataConfig, source: seqio.DataSource, folder: Path) -> seqio.Vocabulary:
    """The vocabulary to tokenize with; a SentencePiece model is trained on the train split, into `folder`: on
    about as many bytes of each component, however much there is of it.

    Raises:
      ValueError: a vocabulary size that the text does not allow.
    """
    import seqio

    if config.vocab == "bytes":
        return seqio.ByteVocabulary()
    examples = source.get_dataset("train", shuffle=False).as_numpy_iterator()
    if config.has_components:
        texts = sample_evenly(((each["component"], each["text"]) for each in examples), VOCABULARY_BYTES)
    else:
        texts = sample((each["text"] for each in examples), VOCABULARY_BYTES)
    model = train_sentencepiece(texts, config.vocab_size)
    path = folder / "vocab.model"
    path.write_bytes(model)
    return seqio.SentencePieceVocabulary(str(path))


def train_sentencepiece(documents: list[bytes], vocab_size: int) -> bytes:
    """A byte-pair model with byte fallback that loses nothing: no normalisation, white space kept.

    The same documents give the same model (one thread, no sampling).

    Raises:
      ValueError: too few documents for `vocab_size`, or fewer than its 256 bytes and 3 special tokens.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([document.decode() for document in documents]),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="bpe",
            pad_id=0,
            eos_id=EOS,
            unk_id=2,
            bos_id=-1,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=1 << 24,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"data.vocab_size={vocab_size}: no SentencePiece vocabulary of this size can be made from "
            f"{len(documents)} documents ({error}); it needs 259 and one for each character at least"
        ) from error
    return model.getvalue()


def sample(documents: Iterable[bytes], n_bytes: int) -> list[bytes]:
    """About `n_bytes` of documents, those with the smallest hashes, so that their order does not matter."""
    return sample_evenly((("", document) for document in documents), n_bytes)


def sample_evenly(members: Iterable[tuple[str | bytes, bytes]], n_bytes: int) -> list[bytes]:
    """About `n_bytes` of documents, as `sample`, in equal parts from every component, or all of a smaller
    one; `members` are (component, document)."""
    kept: dict[str | bytes, list[tuple[bytes, bytes]]] = {}
    sizes: dict[str | bytes, int] = {}
    for component, document in members:
        digest = hashlib.blake2b(document, digest_size=8).digest()
        kept.setdefault(component, []).append((digest, document))
        sizes[component] = sizes.get(component, 0) + len(document)
        each = n_bytes // len(kept)
        if sizes[component] > 2 * each:
            kept[component], sizes[component] = _smallest(kept[component], each)
    chosen = (_smallest(kept[component], n_bytes // len(kept))[0] for component in sorted(kept))
    return [document for part in chosen for _, document in part]


def _smallest(kept: list[tuple[bytes, bytes]], n_bytes: int) -> tuple[list[tuple[bytes, bytes]], int]:
    kept = sorted(kept)
    sizes = np.cumsum([0] + [len(document) for _, document in kept])
    n = int(np.searchsorted(sizes, n_bytes, "right")) - 1
    return kept[:n], int(sizes[n])
