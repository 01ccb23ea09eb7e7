"""Token losses of a checkpoint on a text: computed once, then read from the response cache, without jax."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.vocab import Vocab, load_vocab, with_own_tokenizer
from experiments.data_configs import DataConfig
from experiments.evaluate import response_cache
from experiments.evaluate.checkpoint_paths import Checkpoint, is_hugging_face
from experiments.evaluate.language_modelling.perplexity import (
    DocumentLosses,
    Perplexity,
    by_document,
    by_position,
    difference,
    document_losses,
    length_labels,
    summarise,
)
from experiments.evaluate.language_modelling.tokenized_text import (
    TokenizedText,
    first_documents,
    read_files,
    read_split,
)
from experiments.evaluate.statistics.intervals import Estimate
from experiments.evaluate.tasks.responses import Loader, Progress
from experiments.fields import from_json
from experiments.files import cache_folder, fingerprint, read_json

FORMAT = 2


def cached_losses(
    checkpoint: str,
    loader: Loader,
    tokens: np.ndarray,
    context: int,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """`token_losses.token_losses` of the checkpoint with this fingerprint; about four bytes a token are kept.

    Args:
      checkpoint: its fingerprint.
      loader: loads it, where something is left to compute.
      tokens: int32[n].
      context: tokens a window.
      progress: called with windows done and windows in all.
    """
    n = len(tokens) - 1
    with response_cache.open_losses(_cache_path(checkpoint, tokens, context), n) as (known, add):
        pieces, done = [known], len(known)
        if done < n:
            from experiments.evaluate.language_modelling.token_losses import loss_batches

            loaded = loader()
            for losses in loss_batches(loaded.model, loaded.params, tokens, context, done // context):
                add(losses)
                pieces.append(losses)
                done += len(losses)
                progress(done, n)
    return np.concatenate(pieces)


def _cache_path(checkpoint: str, tokens: np.ndarray, context: int) -> Path:
    content = hashlib.sha256(np.ascontiguousarray(tokens, np.uint32).tobytes()).hexdigest()
    key = json.dumps([FORMAT, checkpoint, content, context])
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.nats"


@dataclass(frozen=True)
class TextScore:
    """What a text cost a checkpoint, in all and by {by: {label: Perplexity, or Estimate of the loss}}."""

    folder: Path
    name: str
    text: TokenizedText
    documents: DocumentLosses
    perplexity: Perplexity
    groups: dict[str, dict[str, Any]]

    def difference(self, other: "TextScore") -> Estimate:
        """Bits per byte above another checkpoint's on this text.

        Raises:
          ValueError: the two have read different documents.
        """
        if not np.array_equal(self.documents.n_bytes, other.documents.n_bytes):
            raise ValueError(
                f"{self.name} of {self.folder} and of {other.folder} are not the same documents in the same "
                "order; compare the two on a --file"
            )
        return difference(self.documents, other.documents)


def score_text(
    checkpoint: Checkpoint,
    loader: Loader,
    name: str,
    is_file: bool,
    *,
    by: Sequence[str] = (),
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> TextScore:
    """Loss and bits per byte on a split or a file, and by each of `by`: a field of a JSONL file's lines,
    "length" of documents or "position" in the context.

    Args:
      checkpoint, loader: what is scored, and how it is loaded if need be.
      name: of a split of its corpus, or of a file.
      is_file: which of the two.
      by: what to break the score down by.
      limit: documents, from the first on; None for all.
      progress: called with windows done and windows in all.

    Raises:
      ValueError: the text cannot be read, or has no such field.
    """
    data, context, vocab = _read_as(checkpoint, loader)
    text = read_files(name, vocab) if is_file else read_split(data, name)
    text = text if limit is None else first_documents(text, limit)
    labels = {field: _labels(text, field, name) for field in by if field not in ("length", "position")}
    if len(text.tokens) < 2:
        raise ValueError("the text is empty; give at least one document")
    nats = cached_losses(fingerprint(checkpoint.folder), loader, text.tokens, context, progress)
    found, groups = document_losses(nats, text, vocab), {}
    for field in by:
        if field == "position":
            groups[field] = by_position(nats, found, context)
        else:
            of_documents = labels.get(field) or length_labels(found)
            groups[field] = by_document(found, of_documents, context)
    return TextScore(checkpoint.folder, name, text, found, summarise(nats, text, vocab, context), groups)


def _read_as(checkpoint: Checkpoint, loader: Loader) -> tuple[DataConfig, int, Vocab]:
    """Corpus, tokens a window and vocabulary: of a run from its configuration, of a Hugging Face folder by
    opening it."""
    if is_hugging_face(checkpoint.folder):
        loaded = loader()
        return loaded.config.data, loaded.config.seq_len, loaded.vocab
    values = read_json(checkpoint.folder / "config.json")
    data, context = from_json(DataConfig, values.get("data", {}), "RunConfig.data"), values.get("seq_len")
    if not isinstance(context, int) or context < 1:
        raise ValueError(
            f"{checkpoint.folder}: seq_len={context!r} in its config.json; expected tokens a row"
        )
    data = with_own_tokenizer(data, checkpoint.folder)
    return data, context, load_vocab(data)


def _labels(text: TokenizedText, field: str, name: str) -> list[str]:
    """What each document's line says in `field`."""
    missing = sum(field not in one for one in text.fields)
    if not text.fields or missing:
        known = ", ".join(dict.fromkeys(k for one in text.fields for k in one)) or "none"
        raise ValueError(
            f"--by {field}: {missing or 'all'} documents of {name} do not say; fields of its JSON lines: "
            f"{known}; there are also length and position"
        )
    return [str(one[field]) for one in text.fields]
