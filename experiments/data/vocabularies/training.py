"""The vocabulary that a corpus is tokenized with: bytes, one trained on it, or the user's tokenizer.json."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.data.cache import EOS
from experiments.data.composition import languages
from experiments.data.vocabularies.parity import train_parity_bpe
from experiments.data.vocabularies.vocab import HuggingFaceVocab, read_tokenizer
from experiments.data.vocabularies.words import train_words
from experiments.data_configs import DataConfig

if TYPE_CHECKING:
    import seqio

VOCABULARY_BYTES = 10_000_000  # of training text that a vocabulary is made from
SENTENCEPIECE = {"sentencepiece": "bpe", "unigram": "unigram"}  # data.vocab: SentencePiece's model type
PARITY, WORDS = "parity_bpe", "words"
VOCABULARIES = ("bytes", *SENTENCEPIECE, PARITY, WORDS)


def make_vocabulary(config: DataConfig, source: seqio.DataSource, folder: Path) -> seqio.Vocabulary:
    """The vocabulary to tokenize with. One that is trained, on the train split, is written into `folder`: on
    about as many bytes of each component, however much there is of it. A tokenizer.json is copied there.

    Raises:
      ValueError: a vocabulary size that the text does not allow.
    """
    import seqio

    if config.vocab == "bytes":
        return seqio.ByteVocabulary()
    kept = folder / "tokenizer.json"
    if is_tokenizer(config):
        vocab = read_tokenizer(Path(config.vocab).expanduser())
        shutil.copyfile(Path(config.vocab).expanduser(), kept)
        return _as_seqio(vocab)
    examples = source.get_dataset("train", shuffle=False).as_numpy_iterator()
    if config.has_components:
        texts = sample_evenly(((each["component"], each["text"]) for each in examples), VOCABULARY_BYTES)
    else:
        texts = sample((each["text"] for each in examples), VOCABULARY_BYTES)
    if config.vocab == PARITY:
        by_language: defaultdict[str, list[str]] = defaultdict(list)
        for text in map(bytes.decode, texts):
            by_language[languages.identify(text)].append(text)
        kept.write_text(train_parity_bpe(by_language, config.vocab_size), encoding="utf-8")
        return _as_seqio(read_tokenizer(kept))
    path = folder / "vocab.model"
    if config.vocab == WORDS:
        path.write_bytes(train_words(map(bytes.decode, texts), config.vocab_size))
    else:
        path.write_bytes(train_sentencepiece(texts, config.vocab_size, SENTENCEPIECE[config.vocab]))
    return seqio.SentencePieceVocabulary(str(path))


def check_vocabulary(config: DataConfig) -> None:
    """Refuses what no vocabulary can be made of, before anything is read.

    Raises:
      ValueError: an unknown vocabulary, a wrong size, or a tokenizer.json that is none.
    """
    name, size = config.vocab, config.vocab_size
    if is_tokenizer(config):
        found = read_tokenizer(Path(name).expanduser()).size
        if size != found:
            raise ValueError(f"data.vocab_size={size}; {name} has {found} tokens: data.vocab_size={found}")
    elif name not in VOCABULARIES:
        known = ", ".join(map(repr, VOCABULARIES))
        raise ValueError(f"data.vocab={name!r}; allowed are {known}, or the path of a tokenizer.json")
    elif name == "bytes" and size != 259:
        raise ValueError(f"data.vocab_size={size}; 'bytes' has 259 (256 bytes and 3 special tokens)")


def is_tokenizer(config: DataConfig) -> bool:
    """Whether the vocabulary is a tokenizer.json of the user's."""
    return config.vocab.endswith(".json")


def vocabulary_identity(config: DataConfig) -> str:
    """What distinguishes the vocabulary in a cache's name: of a tokenizer.json its content and its end token,
    not its path.

    Raises:
      ValueError: as `check_vocabulary`.
    """
    check_vocabulary(config)
    if not is_tokenizer(config):
        return config.vocab
    file = Path(config.vocab).expanduser()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"tokenizer {digest} {read_tokenizer(file).eos_id}"


def _as_seqio(vocab: HuggingFaceVocab) -> seqio.Vocabulary:
    """A tokenizer as seqio has vocabularies."""
    import seqio
    import tensorflow as tf

    def encode(text: bytes) -> np.ndarray:
        return np.array(vocab.encode(text.decode()), np.int32)

    class Tokenizer(seqio.Vocabulary):
        bos_id = None  # type: ignore[assignment]
        eos_id = vocab.eos_id  # type: ignore[assignment]
        unk_id = None  # type: ignore[assignment]
        _base_vocab_size = vocab.size  # type: ignore[assignment]

        def _encode(self, s: str) -> list[int]:
            return vocab.encode(s)

        def _decode(self, ids: Iterable[int]) -> str:
            return vocab.decode(ids)

        def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
            ids = tf.numpy_function(encode, [s], tf.int32)
            ids.set_shape([None])
            return ids

        def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
            raise NotImplementedError("tokens are made text outside of TensorFlow")

    return Tokenizer()


def train_sentencepiece(documents: list[bytes], vocab_size: int, model_type: str = "bpe") -> bytes:
    """A "bpe" or "unigram" model with byte fallback that loses nothing: no normalisation, white space kept.

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
            model_type=model_type,
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


def sample_evenly(documents: Iterable[tuple[str | bytes, bytes]], n_bytes: int) -> list[bytes]:
    """About `n_bytes` of documents, as `sample`, in equal parts from every component, or all of a smaller
    one; `documents` are (component, document)."""
    kept: dict[str | bytes, list[tuple[bytes, bytes]]] = {}
    sizes: dict[str | bytes, int] = {}
    for component, document in documents:
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
