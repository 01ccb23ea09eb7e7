"""Batches of texts with a label each: from a file, or questions with what they ask of weights.

A file has {"text": "…", "label": "…"} a line. A text is read as a document is: behind the token that ends the
one before, and without a template.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from experiments.config import RunConfig
from experiments.data.sources import queries
from experiments.data.vocab import Vocab, load_vocab, prompt_ids
from experiments.objective import RunData
from experiments.objective_configs import ClassifierConfig, ExamplesConfig, QueriesConfig
from experiments.posttraining.data.examples import SPLITS, Example, Examples, RaggedColumn
from experiments.posttraining.data.prepared import in_batches, manifest, open_rendered
from experiments.posttraining.data.records import records


@dataclass(frozen=True)
class LabelledRows:
    """The texts of a split in rows of `seq_len` tokens; the end of a longer text is cut off. `numbers` are
    those of their labels, int32[n]."""

    examples: Examples
    seq_len: int
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, numbers_B: np.ndarray) -> dict[str, np.ndarray]:
        """tokens int32[B,seq_len], 0 behind their end; lengths and labels int32[B]."""
        tokens = self.examples.columns["tokens"]
        return {
            "tokens": tokens.padded(numbers_B, self.seq_len),
            "lengths": np.minimum(tokens.lengths[numbers_B], self.seq_len).astype(np.int32),
            "labels": self.numbers[numbers_B],
        }


def data(config: RunConfig) -> RunData:
    """Batches of labelled texts, prepared if they are not there.

    Raises:
      ValueError: examples of another kind, that cannot be prepared, or with a label that is none of the
        objective's.
    """
    assert isinstance(config.objective, ClassifierConfig)
    splits = {
        split: LabelledRows(found, config.seq_len, numbers_of(found, config.objective.labels))
        for split, found in open_classes(config).items()
    }
    training, held_out = splits["train"], splits["validation"]
    if len(held_out) < 2:
        raise ValueError("classes: one text to validate on; a standard error needs two, give more")
    read, validation = in_batches(config, training, held_out)
    return RunData(
        training=read,
        validation=validation,
        tokens_per_byte=0,
        n_train_tokens=int(training.examples.columns["tokens"].lengths.sum()),
        tokens_an_epoch=len(training) * config.seq_len,
        manifest=manifest(
            config, training.examples.fingerprint, {split: counts(rows) for split, rows in splits.items()}
        ),
    )


def counts(rows: LabelledRows) -> dict[str, int]:
    """What became of the texts of a split."""
    n_cut = (rows.examples.columns["tokens"].lengths > rows.seq_len).sum()
    return {"n_examples": len(rows), "n_truncated": int(n_cut)}


def open_classes(config: RunConfig) -> dict[str, Examples]:
    """Both splits, columns "tokens" and "label" (its UTF-8, so that a set serves any order of labels).

    Raises:
      ValueError: examples of another kind, or that cannot be prepared.
    """
    examples, vocab = config.examples, load_vocab(config.data)
    assert examples is not None
    if examples.task == "queries":
        drawn = examples.queries or QueriesConfig()
        return {split: of_queries(drawn, split, vocab) for split in SPLITS}
    if examples.task != "classes":
        raise ValueError(f"examples.task={examples.task!r}; a classifier takes 'classes' or 'queries'")
    return open_rendered(config, lambda examples, template: rendered(examples, vocab))


def numbers_of(examples: Examples, labels: tuple[str, ...]) -> np.ndarray:
    """int32[n]: of each example the number of its label.

    Raises:
      ValueError: one that is none of them.
    """
    column = examples.columns["label"]
    names = [column[i].astype(np.uint8).tobytes().decode() for i in range(len(column))]
    if unknown := sorted(set(names) - set(labels)):
        raise ValueError(f"examples: label {unknown[0]!r}; objective.labels has {', '.join(labels)}")
    return np.array([labels.index(name) for name in names], np.int32)


def rendered(examples: ExamplesConfig, vocab: Vocab) -> Iterator[Example]:
    """Each text as tokens, with its label.

    Raises:
      ValueError: a record without text or label, with its file and line.
    """
    for place, record in records(examples.path):
        for name in ("text", "label"):
            value = record.get(name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{place}: {name!r} is {value!r}; each record has a text and its label")
        text, label = str(record["text"]), str(record["label"])
        yield Example({"tokens": tokens_of(text, vocab), "label": bytes_of(label)}, key=text.encode())


def of_queries(drawn: QueriesConfig, split: str, vocab: Vocab) -> Examples:
    """The first questions of a split, each read to the place where its query would begin, with what it asks
    of weights (`queries.LABELS`)."""
    found = list(itertools.islice(queries.questions(drawn.seed, split), drawn.n_examples))
    tokens = [tokens_of(queries.in_lines([each.text]), vocab) for each in found]
    labels = [bytes_of(queries.label(each.query)) for each in found]
    return Examples({"tokens": RaggedColumn.of(tokens), "label": RaggedColumn.of(labels)}, {})


def bytes_of(label: str) -> np.ndarray:
    """int32[n]: the UTF-8 of a label."""
    return np.frombuffer(label.encode(), np.uint8).astype(np.int32)


def tokens_of(text: str, vocab: Vocab) -> np.ndarray:
    """int32[n]: the text as the beginning of a document."""
    return np.array(prompt_ids(vocab, text), np.int32)
