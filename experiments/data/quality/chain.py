"""Filters by name, in a row, and what each of them removed."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.data.document import Document
from experiments.data.quality import (
    c4,
    classifier,
    fineweb,
    gibberish,
    gopher,
    markup,
    model_perplexity,
    perplexity,
    truncation,
    votes,
)
from experiments.data.quality.verdict import KEEP, Filter, Verdict
from experiments.data_configs import QualityConfig
from experiments.fields import did_you_mean

VERSION = 1  # raised when a rule changes: caches are then made again
GROUPS: dict[str, Mapping[str, Filter]] = {
    "markup": markup.RULES,
    "truncation": truncation.RULES,
    "fineweb": fineweb.RULES,
    "c4": c4.RULES,
    "gibberish": gibberish.RULES,
    "gopher": gopher.RULES,
}
RULES: dict[str, Filter] = {
    f"{group}.{rule}": judge for group, rules in GROUPS.items() for rule, judge in rules.items()
}
# Need more than the document.
LEARNED = ("votes", "perplexity", "word_order", "classifier", "model_perplexity")
# Not of these: c4.curly_bracket drops all that quotes code, c4.sentences dialogues in single quotes.
DEFAULT = tuple(name for name in RULES if name not in ("c4.curly_bracket", "c4.sentences"))
N_EXAMPLES = 3  # of what each filter removed, kept in the report
EXAMPLE_LENGTH = 200


def names_of(filters: Iterable[str]) -> list[str]:
    """The filters that some names stand for, each once, in the order of the chain: cheap ones first.

    Raises:
      ValueError: a name that stands for none; the nearest is suggested.
    """
    known = [*RULES, *LEARNED]
    chosen: set[str] = set()
    for name in filters:
        found = DEFAULT if name == "default" else [k for k in known if k == name or k.startswith(f"{name}.")]
        if not found:
            groups = ["default", *GROUPS]
            near = did_you_mean(name, [*groups, *known], groups)
            raise ValueError(f"data.quality: no filter {name!r}; {near}")
        chosen.update(found)
    return [name for name in known if name in chosen]


def make(config: QualityConfig, read: Callable[[str], Iterable[Document]]) -> dict[str, Filter]:
    """The filters of a chain, by name.

    Args:
      config: which, and what they need.
      read: the documents at a path, for those that learn.

    Raises:
      ValueError: unknown names, or a filter lacks what it learns from.
    """
    names = names_of(config.filters)
    for name in ("perplexity", "word_order", "classifier", "model_perplexity"):
        if name in names and not config.clean:
            raise ValueError(
                f"data.quality: filter {name!r} learns from clean text; give data.quality.clean=PATH"
            )
    if "classifier" in names and not config.unclean:
        raise ValueError(
            "data.quality: filter 'classifier' learns what to drop from data.quality.unclean=PATH"
        )
    if "model_perplexity" in names and not config.model:
        raise ValueError(
            "data.quality: filter 'model_perplexity' asks a checkpoint; give the folder of a run: "
            "data.quality.model=DIR/runs/RUN"
        )

    @functools.cache
    def texts(path: str) -> list[str]:
        return [document.text for document in read(path)]

    made = dict(RULES)
    if "votes" in names:
        made["votes"] = votes.votes(config.votes_field, config.min_votes)
    if {"perplexity", "word_order"} & set(names):
        made |= perplexity.filters(texts(config.clean))
    if "classifier" in names:
        made["classifier"] = classifier.classifier(classifier.fit(texts(config.clean), texts(config.unclean)))
    if "model_perplexity" in names:
        made["model_perplexity"] = model_perplexity.model_perplexity(config.model, texts(config.clean))
    return {name: made[name] for name in names}


def judge_all(filters: Mapping[str, Filter], documents: Sequence[Document]) -> list[tuple[str, Verdict]]:
    """`judge` of each document. Filters that judge many together are asked last, about what is left."""
    together = {name: each for name, each in filters.items() if hasattr(each, "of_batch")}
    alone = {name: each for name, each in filters.items() if name not in together}
    found = [judge(alone, document) for document in documents]
    for name, each in together.items():
        left = [k for k, (dropped_by, _) in enumerate(found) if not dropped_by]
        for k, verdict in zip(left, each.of_batch([documents[k] for k in left]) if left else []):  # type: ignore[attr-defined]
            if not verdict.keep:
                found[k] = name, verdict
    return found


def judge(filters: Mapping[str, Filter], document: Document) -> tuple[str, Verdict]:
    """The first filter that drops a document, "" if none does, and its verdict."""
    for name, verdict in ((name, judge_one(document)) for name, judge_one in filters.items()):
        if not verdict.keep:
            return name, verdict
    return "", KEEP


@dataclass
class Removed:
    """What one filter removed. Reports add up, in any order, to that of all documents."""

    n_documents: int = 0
    n_bytes: int = 0
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)  # by hash: (reason, beginning)

    def add(self, text: str, reason: str) -> None:
        """Counts a document, and keeps it as an example if its hash is among the smallest."""
        data = text.encode("utf-8", "replace")
        self.n_documents += 1
        self.n_bytes += len(data)
        key = hashlib.blake2b(data, digest_size=8).hexdigest()
        self.examples[key] = reason, text[:EXAMPLE_LENGTH]
        self._trim()

    def merge(self, other: "Removed") -> None:
        """Adds what was removed elsewhere."""
        self.n_documents += other.n_documents
        self.n_bytes += other.n_bytes
        self.examples |= other.examples
        self._trim()

    def _trim(self) -> None:
        for key in sorted(self.examples)[N_EXAMPLES:]:
            del self.examples[key]

    def to_json(self) -> dict[str, Any]:
        """Plain data, for manifests and pages."""
        examples = [{"reason": reason, "text": text} for _, (reason, text) in sorted(self.examples.items())]
        return {"n_documents": self.n_documents, "n_bytes": self.n_bytes, "examples": examples}
