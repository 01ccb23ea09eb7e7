"""Tasks: where text comes from and how it becomes tokens; seqio Tasks, run once into the token cache.

seqio brings TensorFlow, which takes seconds to import: functions that need it import it themselves, so that
everything else can read TASKS. A new corpus is one more entry of TASKS.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.config import DataConfig, StringsConfig
from experiments.data.cache import EOS, SPLITS
from experiments.data.sources import docstrings, hugging_face, strings, textfiles, walks
from experiments.data.splits import SplitCorpus

if TYPE_CHECKING:
    import seqio

C4 = "c4/en:3.*.*"
MC4 = "c4/multilingual:3.*.*"
C4_SPLITS = {"train": "train", "validation": "validation[:50%]", "test": "validation[50%:]"}
BATCH_DOCUMENTS = 1024
VOCABULARY_BYTES = 10_000_000  # of training text that a SentencePiece model is made from


@dataclass(frozen=True)
class TextTask:
    """A corpus. `identity`, which needs no TensorFlow, is what it is made from: caches are named by it."""

    summary: str
    licence: str
    identity: Callable[[DataConfig], dict[str, Any]]
    source: Callable[[DataConfig], seqio.DataSource]


def docstrings_source(config: DataConfig) -> seqio.DataSource:
    """Docstrings of installed packages; `config` changes nothing."""
    found = docstrings.documents()  # its workers run while TensorFlow is imported
    import seqio  # noqa: F401

    corpus = list(found)
    return split_source(lambda: corpus)


def files_source(config: DataConfig) -> seqio.DataSource:
    """The user's own files at `config.path`; raises ValueError as `textfiles.documents`."""
    return split_source(lambda: textfiles.documents(config.path, config.text_field))


def walks_source(config: DataConfig) -> seqio.DataSource:
    """Synthetic problems; `config` changes nothing."""
    return split_source(walks.documents)


def strings_source(config: DataConfig) -> seqio.DataSource:
    return split_source(lambda: strings.documents(config.strings or StringsConfig()))


def hugging_face_source(config: DataConfig) -> seqio.DataSource:
    """The dataset of the Hugging Face hub that `config.path` names; raises as `hugging_face.records`."""
    return split_source(lambda: hugging_face.documents(config.path, config.text_field))


def c4_source(config: DataConfig) -> seqio.DataSource:
    """C4 of TFDS, from folder `data.path` if given; raises as `tfds_source`."""
    return tfds_source(config, C4, C4_SPLITS)


def mc4_source(config: DataConfig) -> seqio.DataSource:
    """mC4 (C4 in 108 languages) in `config.language`; raises as `tfds_source`, and without a language."""
    return tfds_source(config, MC4, mc4_splits(config.language))


def mc4_splits(language: str) -> dict[str, str]:
    """The splits of one of mC4's languages: its validation split is halved into validation and test.

    Raises:
      ValueError: no language.
    """
    if not language:
        raise ValueError("data.task=mc4 needs a language by mC4's code: data.language=sw")
    held_out = f"{language}-validation"
    return {"train": language, "validation": f"{held_out}[:50%]", "test": f"{held_out}[50%:]"}


def tfds_source(config: DataConfig, name: str, splits: dict[str, str]) -> seqio.DataSource:
    """A dataset of TFDS, from folder `data.path` if given, its splits as `splits` says.

    Raises:
      ValueError: TFDS neither finds it there nor can fetch it.
    """
    import seqio

    source = seqio.TfdsDataSource(name, tfds_data_dir=config.path or None, splits=splits)
    try:
        source.get_dataset("train", shuffle=False)
    except Exception as error:  # TFDS raises whatever its file systems, downloads and Beam raise
        where = config.path or "its default folder"
        raise ValueError(
            f"data.task={config.task}: TensorFlow Datasets has no prepared {name} in {where} and cannot "
            f"fetch it ({type(error).__name__}: {str(error)[:200]}); give data.path=FOLDER or network"
        ) from error
    return source


TASKS = {
    "docstrings": TextTask(
        "docstrings of the Python standard library and of packages that isoflop installs",
        docstrings.LICENCE,
        lambda config: docstrings.identity(),
        docstrings_source,
    ),
    "files": TextTask(
        "your own files: text, JSON lines, Parquet, Arrow, web archives (data.path=FILE, FOLDER or PATTERN)",
        textfiles.LICENCE,
        lambda config: textfiles.identity(config.path, config.text_field),
        files_source,
    ),
    "c4": TextTask(
        "C4 (English) from TensorFlow Datasets; needs network, or data.path=TFDS_FOLDER",
        "ODC-BY; see https://www.tensorflow.org/datasets/catalog/c4",
        lambda config: {"tfds": C4, "splits": C4_SPLITS, "data_dir": config.path},
        c4_source,
    ),
    "mc4": TextTask(
        "C4 in 108 languages from TensorFlow Datasets (data.language=sw); needs network, or data.path",
        "ODC-BY; see https://www.tensorflow.org/datasets/catalog/c4",
        lambda config: {"tfds": MC4, "splits": mc4_splits(config.language), "data_dir": config.path},
        mc4_source,
    ),
    "hugging_face": TextTask(
        "a dataset of the Hugging Face hub (data.path=OWNER/NAME[:CONFIG][@REVISION]); needs network once",
        hugging_face.LICENCE,
        lambda config: hugging_face.identity(config.path, config.text_field),
        hugging_face_source,
    ),
    "walks": TextTask(
        "walks through a table step by step, made here: small models learn to reason on them",
        "made by isoflop",
        lambda config: walks.identity(),
        walks_source,
    ),
    "strings": TextTask(
        "random strings with their copies or reversals, made here: to be remembered whole (data.strings)",
        strings.LICENCE,
        lambda config: strings.identity(config.strings or StringsConfig()),
        strings_source,
    ),
}


def split_source(documents: Callable[[], Iterable[bytes]]) -> seqio.DataSource:
    """A seqio source of {"text"} examples, split by hash, without near-duplicates of held-out documents.

    Raises:
      ValueError: what reading `documents` raises.
    """
    corpus = SplitCorpus(documents)  # before the slow imports: errors in the text are raised at once
    import seqio
    import tensorflow as tf

    def dataset_fn(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        # Documents enter TensorFlow by the thousand: one by one takes several times longer.
        batches = tf.data.Dataset.from_generator(
            lambda: _batched(corpus.read(split), BATCH_DOCUMENTS),
            output_signature=tf.TensorSpec([None], tf.string),
        )
        return batches.unbatch().map(lambda text: {"text": text})

    return seqio.FunctionDataSource(dataset_fn, splits=SPLITS, num_input_examples=corpus.n_assigned)


def language_modelling(name: str, source: seqio.DataSource, vocabulary: seqio.Vocabulary) -> seqio.Task:
    """The seqio Task of all corpora: {"text"} to "targets", tokens with an end-of-sequence token."""
    import seqio

    return seqio.Task(
        name,
        source=source,
        preprocessors=[
            functools.partial(seqio.preprocessors.rekey, key_map={"targets": "text"}),
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos,
        ],
        output_features={"targets": seqio.Feature(vocabulary, add_eos=True)},
    )


def encode(task: seqio.Task, split: str) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """A Task's split as `cache.write_split` takes it: (tokens, lengths of documents, bytes of text)."""
    import tensorflow as tf

    examples = task.get_dataset(sequence_length=None, split=split, shuffle=False, try_in_mem_cache=False)
    sized = examples.map(
        lambda example: (example["targets"], tf.strings.length(example["targets_pretokenized"]))
    )
    for tokens, sizes in sized.ragged_batch(BATCH_DOCUMENTS):
        yield tokens.flat_values.numpy(), tokens.row_lengths().numpy(), int(sizes.numpy().sum())


def make_vocabulary(config: DataConfig, source: seqio.DataSource, folder: Path) -> seqio.Vocabulary:
    """The vocabulary to tokenize with; a SentencePiece model is trained on the train split, into `folder`.

    Raises:
      ValueError: a vocabulary size that the text does not allow.
    """
    import seqio

    if config.vocab == "bytes":
        return seqio.ByteVocabulary()
    texts = (example["text"] for example in source.get_dataset("train", shuffle=False).as_numpy_iterator())
    model = train_sentencepiece(sample(texts, VOCABULARY_BYTES), config.vocab_size)
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
    kept: list[tuple[bytes, bytes]] = []
    size = 0
    for document in documents:
        kept.append((hashlib.blake2b(document, digest_size=8).digest(), document))
        size += len(document)
        if size > 2 * n_bytes:
            kept, size = _smallest(kept, n_bytes)
    return [document for _, document in _smallest(kept, n_bytes)[0]]


def _smallest(kept: list[tuple[bytes, bytes]], n_bytes: int) -> tuple[list[tuple[bytes, bytes]], int]:
    kept = sorted(kept)
    sizes = np.cumsum([0] + [len(document) for _, document in kept])
    n = int(np.searchsorted(sizes, n_bytes, "right")) - 1
    return kept[:n], int(sizes[n])


def _batched(items: Iterable[bytes], n: int) -> Iterator[list[bytes]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, n)):
        yield batch
