"""A corpus, described by data: what it is made of, and what is kept of it."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from experiments.fields import ADDED_LATER, Numbers

NO_NUMBERS = Numbers()
COMPONENT_NAME = re.compile(r"[^\s,=/]([^,=/\n]*[^\s,=/])?")


@dataclass(frozen=True)
class QualityConfig:
    """Filters that a document must pass, by name (experiments/data/quality/chain.py): a name without a dot is
    all rules of a group, "default" what we hold to be safe for English prose.

    `clean` is a path of text to be like, which "perplexity", "word_order" and "classifier" learn from, and
    `unclean` one to be unlike, for "classifier". "votes" asks for `min_votes` in the field `votes_field`.
    "model_perplexity" has the checkpoint in the folder `model`, and its limit from `clean`.
    """

    filters: tuple[str, ...] = ("default",)
    clean: str = ""
    unclean: str = ""
    votes_field: str = "votes"
    min_votes: int = 3
    model: str = field(default="", metadata=ADDED_LATER)


@dataclass(frozen=True)
class DuplicatesConfig:
    """What of a corpus goes because it is there twice.

    Args:
      documents: whether of equal documents one is kept.
      near: Jaccard similarity of runs of 8 letters from which documents are near-duplicates, of which one
        is kept; 0 keeps all. Of 0.6 are texts of which one word in ten was changed, of 0.8 one in twenty.
      lines: letters of a line from which it is kept once in the corpus; 0 keeps all.
      substring: tokens of a run (words; characters of Chinese and Japanese) that is kept once; 0 keeps all.
      against: path of texts of evaluations: documents that share a run of `overlap` words with one are
        dropped.
      overlap: see `against`.
    """

    documents: bool = True
    near: float = 0.6
    lines: int = 0
    substring: int = 0
    against: str = ""
    overlap: int = 13

    def __post_init__(self):
        if not 0 <= self.near <= 1:
            raise ValueError(f"duplicates: near={self.near}; it is a similarity from 0 (off) to 1")
        for name in ("lines", "substring"):
            if getattr(self, name) < 0:
                raise ValueError(f"duplicates: {name}={getattr(self, name)}; 0 turns it off")
        if self.overlap < 1:
            raise ValueError(f"duplicates: overlap={self.overlap}; it must be at least 1 word")


@dataclass(frozen=True)
class StringsConfig:
    """Random strings of 1 to `max_length` symbols, which are the first `n_symbols` letters."""

    task: Literal["reverse", "copy"] = "reverse"
    n_symbols: int = 26
    max_length: int = 20

    def __post_init__(self):
        if not 1 <= self.n_symbols <= 26:
            raise ValueError(f"strings: n_symbols={self.n_symbols}; allowed are 1 to 26 letters")
        if self.max_length < 1:
            raise ValueError(f"strings: max_length={self.max_length}; it must be at least 1")


def check_name(name: str, where: str) -> str:
    """The name of a component; it becomes part of names of columns.

    Raises:
      ValueError: empty, or with a character that tables and laws give a meaning.
    """
    if not COMPONENT_NAME.fullmatch(name):
        raise ValueError(f"{where}={name!r} cannot name a component: names have no comma, = or /")
    return name


@dataclass(frozen=True)
class SourceConfig:
    """A component of task "mixture".

    name: of the component, as in `share_NAME`.
    task, path, text_field, language: where its text comes from, as of `DataConfig`.
    where: "field=value" or "field=value|value": only records whose field has such a value; "": all of them.
    """

    name: str
    task: str = "files"
    path: str = ""
    where: str = ""
    text_field: str = "text"
    language: str = field(default="", metadata=ADDED_LATER)

    def __post_init__(self):
        check_name(self.name, "source: name")
        name, equals, value = self.where.partition("=")
        if self.where and not (name and equals and value):
            raise ValueError(f"source {self.name}: where={self.where!r}; write field=value|value")


@dataclass(frozen=True)
class MixtureConfig:
    """How often each component of a corpus is read: settings of a run, not of the prepared tokens.

    weights: by component; shares of the training rows are proportional to them, and a component that is not
      named is not read. {}: shares follow from the components' tokens n, by one of the next two.
    temperature: shares are proportional to n^(1 / temperature): 1 is as much as there is, inf equal shares
      (Arivazhagan et al. 2019). Papers that write n^α mean temperature = 1 / α.
    max_epochs: above 0, UniMax instead (Chung et al. 2023): equal shares, but none is read more often than
      this. It depends on the run's n_tokens.
    unique_tokens: by component, at most so many of its tokens are read, again and again; those of a smaller
      number are among those of a larger.
    """

    weights: Numbers = NO_NUMBERS
    temperature: float = 1.0
    max_epochs: float = 0.0
    unique_tokens: Numbers = NO_NUMBERS

    def __post_init__(self):
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"mixture: weights.{name}={weight}; weights are proportions: finite, and at least 0"
                )
        if self.weights and not any(self.weights.values()):
            raise ValueError(f"mixture: all weights are 0 ({', '.join(self.weights)}); nothing would be read")
        if not self.temperature > 0:
            raise ValueError(f"mixture: temperature={self.temperature}; it must be above 0")
        if not 0 <= self.max_epochs < math.inf:
            raise ValueError(f"mixture: max_epochs={self.max_epochs}; it must be above 0, or 0 for no UniMax")
        if bool(self.weights) + (self.temperature != 1) + (self.max_epochs > 0) > 1:
            raise ValueError("mixture: weights, temperature and max_epochs exclude each other; give one")
        for name, n in self.unique_tokens.items():
            if not n >= 1:
                raise ValueError(f"mixture: unique_tokens.{name}={n}; it must be at least 1")


@dataclass(frozen=True)
class ModelMadeConfig:
    """A training corpus: documents of a source of known entropy, `n_real` from document `first` on and the
    next `n_rephrased` in other words, and the first `n_sampled` that each of `runs` (ids) says."""

    source: str = "zipf_skills"
    first: int = 0
    n_real: int = 0
    n_rephrased: int = 0
    runs: tuple[str, ...] = ()
    n_sampled: int = 0

    def __post_init__(self):
        if self.n_real + self.n_rephrased + self.n_sampled * len(self.runs) < 1:
            raise ValueError("model_made: no documents; give n_real, n_rephrased, or runs with n_sampled")


@dataclass(frozen=True)
class BiographiesConfig:
    """Facts about made-up people (experiments/data/sources/biographies.py), and how often each is stated.

    n_people: how many people the corpus speaks of.
    exposures: biographies of a person, each of which states all facts in other words: of the first person so
      many as the first number says, of the second the second, and so on, again and again. An epoch is one
      pass over all of them.
    questions: share of the people about whom there are questions with their answers, too, as often.
    n_junk: further people, of each of whom there is one biography.
    source: whether a biography begins with where it is from: a book, or for the further people the web.
    regions: whether there also is the region that a person's city lies in.
    tail: 0, or the exponent of a heavy tail of `exposures`, then the least and the most: of the r-th most
      frequent person there are most / r^tail biographies, at least the least.
    seed: of the names and facts.
    """

    n_people: int = 1024
    exposures: tuple[int, ...] = (8,)
    questions: float = 0.5
    n_junk: int = 0
    source: bool = False
    seed: int = 0
    regions: bool = field(default=False, metadata=ADDED_LATER)
    tail: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self):
        if self.n_people < 1 or self.n_junk < 0:
            raise ValueError(
                f"biographies: n_people={self.n_people}, n_junk={self.n_junk}; at least 1, and not negative"
            )
        if not self.exposures or min(self.exposures) < 1:
            raise ValueError(f"biographies: exposures={self.exposures}; each must be at least 1")
        if self.tail < 0 or (self.tail and len(self.exposures) != 2):
            raise ValueError(
                f"biographies: tail={self.tail} with exposures={self.exposures}; it is not negative, and "
                "exposures are the least and the most, such as [1,1000]"
            )
        if not 0 <= self.questions <= 1:
            raise ValueError(f"biographies: questions={self.questions}; it is a share, 0 to 1")


@dataclass(frozen=True)
class DataConfig:
    """Text and vocabulary. `path` is for task "files"; `fingerprint` is the sha256 of the prepared tokens:
    filled in when a study is planned, checked when a run opens them ("" accepts whatever is there);
    `strings` is for task "strings", None the default ones; `text_field` is the field or column of records
    that is their text; `language` is for task "mc4". `vocab` is bytes, sentencepiece, unigram, parity_bpe,
    words, or the path of a tokenizer.json.

    A corpus may have components: the `sources` of task "mixture", or, of any other task, the values of a
    field `by` of its records. `mixture` says how often a run reads each; None: as much as there is of it.

    `quality` says which documents are good enough to be kept, `duplicates` which are there once too often;
    None keeps all but near-duplicates of held-out text, which never are in training. `model_made` and
    `biographies` are for the tasks of these names."""

    task: str = "docstrings"
    path: str = ""
    vocab: str = "bytes"
    vocab_size: int = 259
    fingerprint: str = ""
    strings: StringsConfig | None = field(default=None, metadata=ADDED_LATER)
    text_field: str = field(default="text", metadata=ADDED_LATER)
    language: str = field(default="", metadata=ADDED_LATER)
    sources: tuple[SourceConfig, ...] = field(default=(), metadata=ADDED_LATER)
    by: str = field(default="", metadata=ADDED_LATER)
    mixture: MixtureConfig | None = field(default=None, metadata=ADDED_LATER)
    quality: QualityConfig | None = field(default=None, metadata=ADDED_LATER)
    duplicates: DuplicatesConfig | None = field(default=None, metadata=ADDED_LATER)
    model_made: ModelMadeConfig | None = field(default=None, metadata=ADDED_LATER)
    biographies: BiographiesConfig | None = field(default=None, metadata=ADDED_LATER)

    def __post_init__(self):
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"data.sources: {', '.join(names)}; each component has a name of its own")
        if bool(self.sources) != (self.task == "mixture"):
            raise ValueError(
                f"data.task={self.task!r} with {len(self.sources)} data.sources; task 'mixture' is made of "
                "sources, and no other"
            )
        if bool(self.model_made) != (self.task == "model_made"):
            raise ValueError(f"data.task={self.task!r}: data.model_made goes with task 'model_made' alone")
        if self.sources and self.by:
            raise ValueError(f"data.by={self.by!r} with data.sources; components are the one or the other")
        if self.mixture and not self.has_components:
            raise ValueError(
                "data.mixture: this corpus has no components; give data.by=FIELD, or data.task=mixture and "
                "data.sources"
            )

    @property
    def has_components(self) -> bool:
        """Whether its tokens are grouped by component."""
        return bool(self.sources or self.by)
