"""The tokenizer tax: how many tokens the same sentences take in each language (Petrov et al. 2023,
arXiv 2305.15425; Foroutan et al. 2025, arXiv 2508.04796)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from experiments.data.document import Document
from experiments.data.vocabularies.vocab import Vocab

REFERENCE = "en"  # a language's tax is its tokens over those of this one


@dataclass(frozen=True)
class Tax:
    """What sentences cost in one language.

    Attributes:
      tax: tokens over those of the same sentences in the reference language.
    """

    language: str
    tokens_per_byte: float
    tokens_per_character: float
    tokens_per_sentence: float
    tax: float


def read_parallel(documents: Iterable[Document], language: str, key: str) -> dict[str, list[str]]:
    """The same sentences in each language, in one order; a sentence that a language lacks is left out of all.

    Args:
      documents: a sentence each.
      language: field that says in which language it is.
      key: field that says which sentence it is.

    Raises:
      ValueError: a document lacks a field, or no sentence is in all languages.
    """
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for document in documents:
        if missing := [name for name in (language, key) if name not in document.fields]:
            raise ValueError(
                f"a sentence has no field {missing[0]!r} (its fields: {', '.join(document.fields)})"
            )
        found[str(document.fields[language])][str(document.fields[key])] = document.text
    common = sorted(set.intersection(*(set(each) for each in found.values()))) if found else []
    if not common:
        raise ValueError(f"no value of field {key!r} occurs in all languages ({', '.join(found) or 'none'})")
    return {name: [each[sentence] for sentence in common] for name, each in sorted(found.items())}


def measure_tax(sentences: Mapping[str, list[str]], vocab: Vocab, reference: str = REFERENCE) -> list[Tax]:
    """What each language pays, the dearest last; beside the cheapest one where `reference` is not there.

    Args:
      sentences: the same in each language.
      vocab: what turns them into tokens.
      reference: language whose tax is 1.
    """
    tokens = {name: sum(len(vocab.encode(text)) for text in each) for name, each in sentences.items()}
    base = tokens.get(reference, min(tokens.values()))
    rows = [
        Tax(
            name,
            tokens[name] / sum(len(text.encode()) for text in each),
            tokens[name] / sum(map(len, each)),
            tokens[name] / len(each),
            tokens[name] / base,
        )
        for name, each in sentences.items()
    ]
    return sorted(rows, key=lambda row: row.tax)


def inequality(rows: list[Tax]) -> float:
    """The Gini coefficient of tokens a sentence over languages: 0 where all pay alike."""
    costs = np.sort([row.tokens_per_sentence for row in rows])
    n = len(costs)
    return float(2 * (np.arange(1, n + 1) * costs).sum() / (n * costs.sum()) - (n + 1) / n)
