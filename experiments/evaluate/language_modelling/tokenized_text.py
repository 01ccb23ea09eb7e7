"""The text that a checkpoint is evaluated on: a split of a prepared corpus, or the user's own files."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.cache import open_cache
from experiments.data.prepare import prepare
from experiments.data.vocab import Vocab
from experiments.data_configs import DataConfig
from experiments.evaluate.tasks.task import InvalidItem


@dataclass(frozen=True)
class TokenizedText:
    """`tokens` is int [n]; document d is tokens[offsets[d]:offsets[d + 1]], its last token EOS.

    Tokens before offsets[0] are context only. `fields` are what its line of a JSONL file says of each
    document besides its text; `invalid` are lines without a text. `n_bytes` is the UTF-8 bytes of each
    document [n], or of all together, before they became tokens, of which a vocabulary may lose some; None:
    those of what the tokens decode to.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    fields: tuple[dict[str, Any], ...] = ()
    invalid: tuple[InvalidItem, ...] = field(default=())
    n_bytes: np.ndarray | int | None = None


def read_split(data: DataConfig, split: str) -> TokenizedText:
    """A split of a corpus, which is prepared first if it is not there.

    Raises:
      ValueError: the corpus cannot be prepared, is not the one the configuration was made with, or there is
        none, as of an imported checkpoint.
    """
    if data.task == "imported":
        raise ValueError("an imported checkpoint has no corpus of its own; give a text by --file, or --tasks")
    cache = open_cache(prepare(data), split)
    return TokenizedText(cache.tokens, cache.offsets, n_bytes=cache.n_bytes)


def first_documents(text: TokenizedText, n: int) -> TokenizedText:
    """The text up to the end of its n-th document; bytes that are known of all together are counted anew."""
    offsets = text.offsets[: n + 1]
    n_bytes = text.n_bytes[:n] if isinstance(text.n_bytes, np.ndarray) else None
    return replace(
        text, tokens=text.tokens[: offsets[-1]], offsets=offsets, fields=text.fields[:n], n_bytes=n_bytes
    )


def read_files(path: str, vocab: Vocab) -> TokenizedText:
    """Documents of a file, a folder or a pattern, cut as for training on them
    (`experiments.data.sources.textfiles`).

    What begins a text goes in front, so that the first token is counted too: an EOS, as if another document
    had just ended, or what a foreign tokenizer puts there. In a single JSONL file, lines that hold no text
    are left out and listed.

    Raises:
      ValueError: nothing there, or nothing that can be read.
    """
    from experiments.data.sources import textfiles  # here: the only reader of pyarrow and zstandard

    files = textfiles.find(path)
    invalid: list[InvalidItem] = []
    if len(files) == 1 and textfiles.format_of(files[0]) == ".jsonl":
        documents, fields = _read_jsonl(files[0], invalid)
    else:
        documents, fields = [document.decode() for document in textfiles.documents(path)], ()
    pieces = [np.array(vocab.begin_ids or [vocab.eos_id], np.int32)]
    pieces += [np.array([*vocab.encode(document), vocab.eos_id], np.int32) for document in documents]
    offsets = np.cumsum([len(piece) for piece in pieces])
    n_bytes = np.array([len(document.encode()) for document in documents])
    return TokenizedText(np.concatenate(pieces), offsets, tuple(fields), tuple(invalid), n_bytes)


def _read_jsonl(file: Path, invalid: list[InvalidItem]) -> tuple[list[str], list[dict[str, Any]]]:
    """Texts of a JSONL file and the other fields of their lines; what is no text is added to `invalid`."""
    from experiments.data.sources import textfiles

    documents, fields = [], []
    for number, line in textfiles.lines(file):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            invalid.append(InvalidItem(number, f"not JSON ({error})"))
            continue
        text = record.pop("text", None) if isinstance(record, dict) else None
        if not isinstance(text, str) or not text.strip():
            invalid.append(InvalidItem(number, "no 'text'"))
        else:
            documents.append(text.encode("utf-8", "replace").decode())
            fields.append(record)
    return documents, fields
