"""Bits and tokens of the same sentences in each language: what a language costs, whatever its alphabet.

A byte of one language says more than one of another, and a token even more so; a sentence says the same.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import models
from experiments.data.sources import textfiles
from experiments.data.vocab import Vocab, load_vocab
from experiments.data.vocabularies.tax import read_parallel
from experiments.evaluate.tasks import span_metrics
from experiments.files import read_json, write_json
from experiments.training.checkpoints.load import load
from models.model import Model

FILE = "parallel.json"  # of a run: what was measured of it
ROWS = 32  # of a batch


def read_sentences(path: str, languages: tuple[str, ...], n_sentences: int) -> dict[str, list[str]]:
    """The first sentences, by id, that all of the languages have.

    Raises:
      ValueError: a language has none, or there are fewer than `n_sentences`.
    """
    wanted = [each for each in textfiles.records(path) if str(each.fields.get("lang")) in languages]
    found = read_parallel(wanted, "lang", "id")
    if missing := [name for name in languages if name not in found]:
        raise ValueError(f"{path}: no sentences with lang={missing[0]}; leave it out of Settings.languages")
    n = len(found[languages[0]])
    if n < n_sentences:
        raise ValueError(f"{path}: {n} sentences are in all languages, fewer than n_sentences={n_sentences}")
    return {name: found[name][:n_sentences] for name in languages}


def costs_of_run(run: Path, sentences: Mapping[str, list[str]]) -> dict[str, dict[str, float]]:
    """`costs` of a run's checkpoint, measured once and kept in its folder.

    Raises:
      ValueError: there is no checkpoint that can be read.
    """
    kept = run / FILE
    if not kept.is_file():
        config, params = load(run)
        found = costs(models.build(config.model), params, load_vocab(config.data), sentences, config.seq_len)
        write_json(kept, found)
    return read_json(kept)


def costs(
    model: Model, params, vocab: Vocab, sentences: Mapping[str, list[str]], seq_len: int
) -> dict[str, dict[str, float]]:
    """Of each language the bits, tokens and bytes of a sentence, in the mean.

    Sentences stand one after the other, as documents do in training, each with the token that ends it; every
    token is predicted once, from those before it in its row.

    Args:
      model, params: a network of decoder only.
      vocab: of its tokens.
      sentences: of each language.
      seq_len: tokens that a row predicts.
    """
    tokens = {name: _with_ends(vocab, texts) for name, texts in sentences.items()}
    rows = {name: _rows(each, seq_len) for name, each in tokens.items()}
    together = np.concatenate(list(rows.values()))
    full = np.pad(together, ((0, -len(together) % ROWS), (0, 0)))
    nats_RT = span_metrics.predict(model, params, np.split(full, len(full) // ROWS)).nats_RT
    found, start = {}, 0
    for name, texts in sentences.items():
        own = nats_RT[start : start + len(rows[name])].ravel()[: len(tokens[name]) - 1]
        start += len(rows[name])
        found[name] = {
            "bits": float(own.sum(dtype=np.float64)) / np.log(2) / len(texts),
            "tokens": (len(tokens[name]) - 1) / len(texts),
            "bytes": sum(len(text.encode()) for text in texts) / len(texts),
        }
    return found


def _with_ends(vocab: Vocab, texts: list[str]) -> np.ndarray:
    """The tokens of texts, an end before the first and behind each."""
    ends = [vocab.eos_id]
    return np.array(ends + [token for text in texts for token in vocab.encode(text) + ends], np.int32)


def _rows(tokens: np.ndarray, seq_len: int) -> np.ndarray:
    """int32[R, seq_len + 1]: all tokens but the first are predicted once; the last row is filled with 0."""
    n_rows = -(-(len(tokens) - 1) // seq_len)
    padded = np.pad(tokens, (0, n_rows * seq_len + 1 - len(tokens)))
    return padded[np.arange(n_rows)[:, None] * seq_len + np.arange(seq_len + 1)]
