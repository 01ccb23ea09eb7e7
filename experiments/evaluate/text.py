"""The text that a checkpoint is evaluated on: a split of a prepared corpus, or the user's own files."""

from dataclasses import dataclass

import numpy as np

from experiments.config import DataConfig
from experiments.data.cache import open_cache
from experiments.data.prepare import prepare
from experiments.data.vocab import Vocab


@dataclass(frozen=True)
class Text:
    """`tokens` is int [n]; document d is tokens[offsets[d]:offsets[d + 1]], its last token EOS.

    Tokens before offsets[0] are context only.
    """

    tokens: np.ndarray
    offsets: np.ndarray


def read_split(data: DataConfig, split: str) -> Text:
    """A split of a corpus, which is prepared first if it is not there.

    Raises:
      ValueError: the corpus cannot be prepared, or is not the one the configuration was made with.
    """
    cache = open_cache(prepare(data), split)
    return Text(cache.tokens, cache.offsets)


def read_files(path: str, vocab: Vocab) -> Text:
    """Documents of a file, a folder or a pattern, cut as for training on them (`experiments.data.textfiles`).

    An EOS goes in front, as if another document had just ended, so that the first token is counted too.

    Raises:
      ValueError: nothing there, or nothing that can be read.
    """
    from experiments.data import textfiles  # here: the only reader of pyarrow and zstandard

    pieces = [np.array([vocab.eos_id], np.int32)]
    for document in textfiles.documents(path):
        pieces.append(np.array([*vocab.encode(document.decode()), vocab.eos_id], np.int32))
    return Text(np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces]))
