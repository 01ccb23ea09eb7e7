"""A corpus without what its configuration drops (data.quality, data.duplicates), as a seqio source.

The whole corpus is decided on before it is split, so that near-duplicates never cross splits. Corpora that
come in splits of their own (C4, mC4) keep what is held out, and lose copies of it from training.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from experiments.data.cache import SPLITS
from experiments.data.cleaning.decision import Decision, Grouped, decide
from experiments.data.quality import chain, model_perplexity
from experiments.data.sources import textfiles, tfds
from experiments.data.sources.left_out import Skipped
from experiments.data.splits import BATCH_DOCUMENTS, batched, split_source
from experiments.data.tasks import component_documents, find_task
from experiments.data_configs import DataConfig
from experiments.fields import to_json

if TYPE_CHECKING:
    import seqio

PRECEDENCE = ("test", "validation", "train")  # of splits that a corpus has of its own


def identity(config: DataConfig) -> dict[str, Any]:
    """What of the configuration, and of the files that it names, decides what is kept; {} if nothing does.

    Raises:
      ValueError: an unknown filter, or a file that is not there.
    """
    if not config.quality and not config.duplicates:
        return {}
    found: dict[str, Any] = {"version": chain.VERSION}
    paths = {}
    if config.quality:
        found["quality"] = to_json(config.quality)
        found["filters"] = chain.names_of(config.quality.filters)
        paths |= {"clean": config.quality.clean, "unclean": config.quality.unclean}
    if config.duplicates:
        found["duplicates"] = to_json(config.duplicates)
        paths |= {"against": config.duplicates.against}
    if config.quality and config.quality.model:
        found["model"] = model_perplexity.identity(config.quality.model)
    return found | {name: textfiles.identity(path) for name, path in paths.items() if path}


def cleaned_source(config: DataConfig, skipped: Skipped) -> tuple[seqio.DataSource, dict[str, Any]]:
    """The corpus without what is dropped, and the report of what was; what cannot be read is counted in
    `skipped`.

    Raises:
      ValueError: the text cannot be read, or a filter cannot be made or cannot judge.
    """
    if config.has_components:
        return _split(config, lambda: component_documents(config, skipped))
    task = find_task(config.task)
    if task.own_splits or task.records is None:
        return _in_own_splits(config, task.source(config, skipped))
    records = task.records
    if config.task in ("docstrings", "planted_dirt"):  # source code is parsed once, files are read again
        corpus = list(records(config, skipped))
        return _split(config, lambda: (("", document) for document in corpus))
    return _split(config, lambda: (("", document) for document in records(config, skipped)))


def _split(config: DataConfig, documents: Callable[[], Iterable[Grouped]]) -> tuple[seqio.DataSource, dict]:
    decision = decide(documents(), config.quality, config.duplicates, textfiles.records)
    if config.has_components:
        return split_source(lambda: decision.read(documents()), operator.itemgetter(1)), decision.report
    return split_source(lambda: (text for _, text in decision.read(documents()))), decision.report


def _in_own_splits(config: DataConfig, source: seqio.DataSource) -> tuple[seqio.DataSource, dict]:
    import seqio
    import tensorflow as tf

    n_documents: Counter[str] = Counter()

    def documents(split: str) -> Iterator[Grouped]:
        n_documents[split] = 0
        for document in tfds.documents(source, split):
            n_documents[split] += 1
            yield split, document

    everything = (each for split in PRECEDENCE for each in documents(split))
    decision = decide(everything, config.quality, config.duplicates, textfiles.records, PRECEDENCE)
    parts, start = {}, 0
    for split in PRECEDENCE:
        own = slice(start, start + n_documents[split])
        cuts = {k - start: spans for k, spans in decision.cuts.items() if own.start <= k < own.stop}
        parts[split] = Decision(decision.kept[own], cuts, {})
        start = own.stop

    def dataset_fn(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        def columns() -> Iterator[dict[str, list[bytes]]]:
            for batch in batched(parts[split].read(documents(split)), BATCH_DOCUMENTS):
                yield {"text": [text for _, text in batch], "component": [b""] * len(batch)}

        strings = tf.TensorSpec([None], tf.string)
        signature = {"text": strings, "component": strings}
        return tf.data.Dataset.from_generator(columns, output_signature=signature).unbatch()

    n_kept = {split: int(part.kept.sum()) for split, part in parts.items()}
    return seqio.FunctionDataSource(dataset_fn, splits=SPLITS, num_input_examples=n_kept), decision.report
