"""Tasks: where text comes from and how it becomes tokens; seqio Tasks, run once into the token cache.

seqio brings TensorFlow, which takes seconds to import: functions that need it import it themselves, so that
everything else can read TASKS. A new corpus is one more entry of TASKS.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.data.cache import SPLITS, Encoded
from experiments.data.document import Document
from experiments.data.sources import (
    biographies,
    docstrings,
    hugging_face,
    known_entropy,
    planted_dirt,
    planted_statements,
    queries,
    strings,
    textfiles,
    tfds,
    walks,
)
from experiments.data.sources.left_out import Skipped
from experiments.data.splits import BATCH_DOCUMENTS, seqio_source, split_of, split_source
from experiments.data_configs import (
    BiographiesConfig,
    DataConfig,
    SourceConfig,
    StringsConfig,
    check_name,
)
from experiments.fields import did_you_mean, to_json
from experiments.files import user_code

if TYPE_CHECKING:
    import seqio


@dataclass(frozen=True)
class TextTask:
    """A corpus. `identity`, which needs no TensorFlow, is what it is made from: caches are named by it.

    records(config, skipped) -> its documents with their fields, of which components can be made; None: it is
    made of others. What is left out is counted in `skipped`, by both. `own_splits`: `source` has the splits
    that its makers gave it, and `records` those that are trained on.
    """

    summary: str
    licence: str
    identity: Callable[[DataConfig], dict[str, Any]]
    source: Callable[[DataConfig, Skipped], seqio.DataSource]
    records: Callable[[DataConfig, Skipped], Iterable[Document]] | None = None
    own_splits: bool = False


def docstrings_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Docstrings of installed packages; `config` changes nothing."""
    found = docstrings.documents()  # its workers run while TensorFlow is imported
    import seqio  # noqa: F401

    corpus = list(found)
    return split_source(lambda: corpus)


def files_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """The user's own files at `config.path`; raises ValueError as `textfiles.records`."""
    return split_source(lambda: _texts(textfiles.records(config.path, config.text_field, skipped)))


def walks_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Synthetic problems; `config` changes nothing."""
    return split_source(walks.documents)


def planted_dirt_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Docstrings with dirt among those that are trained on; `config` changes nothing."""
    corpus = [document.text.encode() for document in planted_dirt_records()]
    return split_source(lambda: corpus)


def planted_dirt_records() -> Iterator[Document]:
    """Docstrings and the dirt made of some, with labels."""
    return planted_dirt.records(docstrings.records(), lambda text: split_of(text.encode()) == "train")


def planted_statements_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Statements in pieces of the docstrings; `config` changes nothing."""
    corpus = [document.text.encode() for document in planted_statements.records(docstrings.records())]
    return split_source(lambda: corpus)


def strings_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    return split_source(lambda: strings.documents(config.strings or StringsConfig()))


def biographies_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Facts about people, with splits of their own."""
    about = config.biographies or BiographiesConfig()

    def documents(split: str) -> Iterator[bytes]:
        made = biographies.records(about) if split == "train" else biographies.held_out(about, split)
        return _texts(made)

    counts = {split: sum(1 for _ in documents(split)) for split in SPLITS}
    return seqio_source(documents, counts)


def queries_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Pages of questions with their queries; `config` changes nothing."""
    return split_source(queries.documents)


def hugging_face_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """The dataset of the Hugging Face hub that `config.path` names; raises as `hugging_face.records`."""
    return split_source(lambda: _texts(hugging_face.records(config.path, config.text_field, skipped)))


def tfds_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """The dataset of TFDS that `config.path` names; raises as `tfds.records_of_any`."""
    return split_source(lambda: _texts(tfds.records_of_any(config.path, config.text_field, skipped)))


def not_made(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """Text that checkpoints say cannot be made from its configuration (model_made.py makes it)."""
    raise ValueError(
        f"data.task={config.task}: what was sampled from the runs is not in the folder of caches; go on with "
        "the study that trains them, which samples again"
    )


def mixture_identity(config: DataConfig) -> dict[str, Any]:
    """What the sources are made from, and which of their records are taken."""
    return {
        "sources": {
            source.name: {
                "task": source.task,
                "where": source.where,
                "identity": find_task(source.task, f"source {source.name}: task").identity(of_source(source)),
            }
            for source in config.sources
        }
    }


def of_source(source: SourceConfig) -> DataConfig:
    """The source as a corpus of its own."""
    return DataConfig(
        task=source.task, path=source.path, text_field=source.text_field, language=source.language
    )


def components_source(config: DataConfig, skipped: Skipped) -> seqio.DataSource:
    """A corpus with components: examples {"text", "component"}, cleared of near-duplicates as one.

    Raises:
      ValueError: records cannot be read, have no components, or a source has no records.
    """
    return split_source(
        lambda: ((name, document.text.encode()) for name, document in component_documents(config, skipped)),
        operator.itemgetter(1),
    )


def component_documents(config: DataConfig, skipped: Skipped) -> Iterator[tuple[str, Document]]:
    """The component of every document, and the document; raises as `components_source`."""
    if not config.sources:
        for record in _records(config, "data.task", skipped):
            if config.by not in record.fields:
                fields = ", ".join(record.fields) or "none"
                raise ValueError(
                    f"data.by={config.by!r}: a document has no such field (its fields: {fields}): "
                    f"{record.text[:60]!r}; name one that all have"
                )
            yield check_name(str(record.fields[config.by]), f"data.by={config.by}: value"), record
    corpora: dict[DataConfig, list[SourceConfig]] = {}
    for source in config.sources:
        corpora.setdefault(of_source(source), []).append(source)
    for corpus, sources in corpora.items():  # each is read once, however many sources take a part of it
        n_taken = dict.fromkeys(sources, 0)
        for record in _records(corpus, f"source {sources[0].name}: task", skipped):
            for source in sources:
                if _takes(source, record):
                    n_taken[source] += 1
                    yield source.name, record
        for source in sources:
            if not n_taken[source]:
                chosen = f" with {source.where}" if source.where else ""
                raise ValueError(
                    f"source {source.name}: there are no documents{chosen}; see its task and path"
                )


def _takes(source: SourceConfig, record: Document) -> bool:
    """Whether the record is one of those that a source is made of."""
    field, _, values = source.where.partition("=")
    return not field or str(record.fields.get(field)) in values.split("|")


def _records(config: DataConfig, where: str, skipped: Skipped) -> Iterable[Document]:
    records = find_task(config.task, where).records
    if records is None:
        can = ", ".join(name for name, task in TASKS.items() if task.records)
        raise ValueError(f"{where}={config.task!r} cannot be part of a mixture; these can: {can}")
    return records(config, skipped)


def find_task(name: str, where: str = "data.task") -> TextTask:
    """The task of that name, or FILE.py:NAME@HASH of a file that this process has run.

    Raises:
      ValueError: there is none; the nearest name is suggested.
    """
    found = TASKS.get(name) or user_code.find(name, where, TextTask)
    if found is None:
        raise ValueError(f"{where}={name!r} does not exist; {did_you_mean(name, TASKS)}")
    return found


def _texts(documents: Iterable[Document]) -> Iterator[bytes]:
    return (document.text.encode("utf-8", "replace") for document in documents)


def _made(texts: Iterable[bytes]) -> Iterator[Document]:
    """Texts that have no fields."""
    return (Document(text.decode()) for text in texts)


def of_known_entropy(source: known_entropy.KnownSource) -> TextTask:
    """The task of one of KNOWN_SOURCES; a configuration changes nothing."""
    return TextTask(
        f"{source.summary}, made here: {source.loss:.4f} nats a token at seq_len={source.row_length}",
        known_entropy.LICENCE,
        lambda config: known_entropy.identity(source),
        lambda config, skipped: split_source(lambda: known_entropy.documents(source)),
        lambda config, skipped: _made(known_entropy.documents(source)),
    )


TASKS = {
    "docstrings": TextTask(
        "docstrings of the Python standard library and of packages that isoflop installs",
        docstrings.LICENCE,
        lambda config: docstrings.identity(),
        docstrings_source,
        lambda config, skipped: docstrings.records(),
    ),
    "files": TextTask(
        "your own files: text, JSON lines, Parquet, Arrow, web archives (data.path=FILE, FOLDER or PATTERN)",
        textfiles.LICENCE,
        lambda config: textfiles.identity(config.path, config.text_field),
        files_source,
        lambda config, skipped: textfiles.records(config.path, config.text_field, skipped),
    ),
    "c4": TextTask(
        "C4 (English) from TensorFlow Datasets; needs network, or data.path=TFDS_FOLDER",
        tfds.LICENCE,
        tfds.identity,
        lambda config, skipped: tfds.source(config),
        lambda config, skipped: tfds.records(config),
        own_splits=True,
    ),
    "mc4": TextTask(
        "C4 in 108 languages from TensorFlow Datasets (data.language=sw); needs network, or data.path",
        tfds.LICENCE,
        tfds.identity,
        lambda config, skipped: tfds.source(config),
        lambda config, skipped: tfds.records(config),
        own_splits=True,
    ),
    "tfds": TextTask(
        "a dataset of TensorFlow Datasets (data.path=NAME[/CONFIG][:VERSION], or a prepared one's folder)",
        tfds.ANY_LICENCE,
        lambda config: tfds.identity_of_any(config.path, config.text_field),
        tfds_source,
        lambda config, skipped: tfds.records_of_any(config.path, config.text_field, skipped),
    ),
    "hugging_face": TextTask(
        "a dataset of the Hugging Face hub (data.path=OWNER/NAME[:CONFIG][@REVISION]); needs network once",
        hugging_face.LICENCE,
        lambda config: hugging_face.identity(config.path, config.text_field),
        hugging_face_source,
        lambda config, skipped: hugging_face.records(config.path, config.text_field, skipped),
    ),
    "walks": TextTask(
        "walks through a table step by step, made here: small models learn to reason on them",
        "made by isoflop",
        lambda config: walks.identity(),
        walks_source,
        lambda config, skipped: _made(walks.documents()),
    ),
    "planted_dirt": TextTask(
        "the docstrings with planted dirt, each kind labelled: what filters are measured on",
        planted_dirt.LICENCE,
        lambda config: docstrings.identity() | {"dirt": planted_dirt.VERSION},
        planted_dirt_source,
        lambda config, skipped: planted_dirt_records(),
    ),
    "planted_statements": TextTask(
        "pieces of the docstrings with statements that nobody else makes, to be learnt: part of a mixture",
        planted_statements.LICENCE,
        lambda config: docstrings.identity() | planted_statements.identity(),
        planted_statements_source,
        lambda config, skipped: planted_statements.records(docstrings.records()),
    ),
    "strings": TextTask(
        "random strings with their copies or reversals, made here: to be remembered whole (data.strings)",
        strings.LICENCE,
        lambda config: strings.identity(config.strings or StringsConfig()),
        strings_source,
        lambda config, skipped: _made(strings.documents(config.strings or StringsConfig())),
    ),
    "biographies": TextTask(
        "facts about made-up people, each stated so many times, and questions (data.biographies)",
        biographies.LICENCE,
        lambda config: biographies.identity(config.biographies or BiographiesConfig()),
        biographies_source,
        lambda config, skipped: biographies.records(config.biographies or BiographiesConfig()),
        own_splits=True,
    ),
    "queries": TextTask(
        "questions about a table with their queries in several forms, made here: semantic parsing",
        queries.LICENCE,
        lambda config: queries.identity(),
        queries_source,
        lambda config, skipped: _made(queries.documents()),
    ),
    **{name: of_known_entropy(source) for name, source in known_entropy.KNOWN_SOURCES.items()},
    "model_made": TextTask(
        "text of known entropy, and text sampled from runs (data.model_made); made by the study of that name",
        known_entropy.LICENCE,
        lambda config: to_json(config.model_made),
        not_made,
    ),
    "mixture": TextTask(
        "several of these, grouped by component and read in given proportions (data.sources, data.mixture)",
        "see its sources",
        mixture_identity,
        components_source,
    ),
}


def language_modelling(
    name: str, source: seqio.DataSource, vocabulary: seqio.Vocabulary, has_components: bool = False
) -> seqio.Task:
    """The seqio Task of all corpora: {"text"} to "targets", tokens with an end-of-sequence token.

    Args:
      name: of the task.
      source: of the text.
      vocabulary: of the tokens.
      has_components: whether examples say of which "component" they are.
    """
    import seqio

    key_map = {"targets": "text", "component": "component" if has_components else ""}
    return seqio.Task(
        name,
        source=source,
        preprocessors=[
            functools.partial(seqio.preprocessors.rekey, key_map=key_map),
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos,
        ],
        output_features={"targets": seqio.Feature(vocabulary, add_eos=True)},
    )


def encode(task: seqio.Task, split: str) -> Iterator[Encoded]:
    """A Task's split as `cache.write_split` takes it."""
    import tensorflow as tf

    examples = task.get_dataset(sequence_length=None, split=split, shuffle=False, try_in_mem_cache=False)
    sized = examples.map(
        lambda example: (
            example["targets"],
            tf.strings.length(example["targets_pretokenized"]),
            example["component"],
        )
    )
    for tokens, sizes, names in sized.ragged_batch(BATCH_DOCUMENTS):
        components = [name.decode() for name in names.numpy()]
        yield Encoded(tokens.flat_values.numpy(), tokens.row_lengths().numpy(), sizes.numpy(), components)
