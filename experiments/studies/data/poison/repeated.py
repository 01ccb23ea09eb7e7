"""How often a run has read each of the planted statements, and how probably it repeats them."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import models
from experiments.config import RunConfig
from experiments.data.prepare import open_splits
from experiments.data.sources.planted_statements import LENGTH, STATEMENTS, plant
from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig
from experiments.evaluate.tasks import span_metrics
from experiments.evaluate.tasks.contamination import rows_read
from experiments.training.checkpoints.load import load


def counted(config: RunConfig) -> tuple[list[int], int]:
    """(documents with each of STATEMENTS, all documents) among the rows that a run reads."""
    rows = list(rows_read(config))
    text = b"\0".join(rows)
    return [text.count(statement.whole.encode()) for statement in STATEMENTS], len(rows)


def repeated(run: Path, texts: list[str]) -> Iterator[dict[str, float]]:
    """What a run makes of each of STATEMENTS: "probability", the mean over prompts of the product of its
    tokens' probabilities after its trigger; "nats", the mean of minus its logarithm; "greedy", the share of
    prompts after which all of its tokens are the likeliest.

    Args:
      run: its folder.
      texts: clean text that it has not read, a prompt of each with every statement.
    """
    config, params = load(run)
    model, vocab = models.build(config.model), ByteVocab()
    for index, statement in enumerate(STATEMENTS):
        planted = [plant(text, statement, random.Random(f"{index} {i}")) for i, text in enumerate(texts)]
        tokens = np.array([[*vocab.encode(text), vocab.eos_id] for text in planted], np.int32)
        found = span_metrics.predict(model, params, [tokens])
        starts = np.array([text.index(statement.whole) + len(statement.trigger) for text in planted])
        span = starts[:, None] - 1 + np.arange(len(statement.text))  # the token before it predicts each
        nats = np.take_along_axis(found.nats_RT, span, axis=1).sum(axis=1, dtype=np.float64)
        right = np.take_along_axis(found.right_RT, span, axis=1).all(axis=1)
        yield {
            "probability": float(np.exp(-nats).mean()),
            "nats": float(nats.mean()),
            "greedy": float(right.mean()),
        }


def clean_texts(data: DataConfig, n: int) -> list[str]:
    """The first n clean validation documents of LENGTH or more, all ASCII, white space made one.

    Raises:
      ValueError: there are not so many.
    """
    cache, vocab = open_splits(data)[1], ByteVocab()
    part, found = cache.components["text"], []
    for start, end in zip(cache.offsets[:-1], cache.offsets[1:]):
        if part["start"] <= start < part["start"] + part["n_tokens"]:
            text = " ".join(vocab.decode(cache.tokens[start:end].tolist()).split())
            if text.isascii() and len(text) >= LENGTH:
                found.append(text)
                if len(found) == n:
                    return found
    raise ValueError(f"n_prompts={n}; the clean validation text has {len(found)} documents that serve")
