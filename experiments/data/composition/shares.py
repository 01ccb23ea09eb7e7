"""What counts say: shares with intervals, lengths, copies, languages beside the web's and their speakers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.data.composition.counts import Amount, Composition, bucket_edge
from experiments.data.composition.languages import NO_LANGUAGE, UNDETERMINED
from experiments.data.composition.survey import LANGUAGE
from experiments.data.composition.web_languages import LANGUAGES

LEVEL, Z = 0.9, 1.6448536269514722  # of all intervals
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


@dataclass(frozen=True)
class Share:
    """A share of the corpus with its 90 % interval, which has no width where every document was looked at."""

    value: float
    lo: float
    hi: float


def share(part: Amount, whole: Amount, n_corpus: int, unit: str = "bytes") -> Share:
    """The share of a group in the corpus, from a sample of its documents drawn by chance.

    The ratio estimator of survey sampling (Cochran 1977, ch. 6) with the finite-population factor; the
    interval is Wilson's at the number of documents drawn singly that would have that variance, so that it
    stays within 0 and 1 and fits rare groups.

    Args:
      part: of the group, in the sample.
      whole: the sample.
      n_corpus: documents of the corpus that the sample is of.
      unit: "documents", "bytes" or "tokens".
    """
    total = getattr(whole, unit)
    if not total:
        return Share(0.0, 0.0, 0.0)
    value = getattr(part, unit) / total
    if whole.documents >= n_corpus:
        return Share(value, value, value)
    squares = (
        (lambda of: of.documents) if unit == "documents" else (lambda of: getattr(of, f"{unit}_squared"))
    )
    # Sum over documents of (their units in the group - value * their units)^2
    scatter = squares(part) * (1 - 2 * value) + value**2 * squares(whole)
    variance = (1 - whole.documents / n_corpus) * scatter / total**2
    if variance <= 0:
        return Share(value, value, value)
    n = value * (1 - value) / variance
    middle = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    return Share(value, max(middle - half, 0.0), min(middle + half, 1.0))


def length_quantiles(lengths: Mapping[int, int]) -> dict[float, float]:
    """Bytes of a document at QUANTILES, from counts in buckets: within 19 % (a bucket's width)."""
    n, below, found = sum(lengths.values()), 0, {}
    waiting = list(QUANTILES)
    for number in sorted(lengths):
        while waiting and below + lengths[number] >= waiting[0] * n:
            within = (waiting[0] * n - below) / lengths[number]
            found[waiting.pop(0)] = bucket_edge(number + within)
        below += lengths[number]
    return found


def score_rows(composition: Composition) -> list[dict[str, Any]]:
    """A row for each filter that measures something: filter, what, documents that it measured, least and most
    (None: no limit) of those that stay, removed (share of all looked at), quantiles (to three digits)."""
    rows = []
    for name, scores in composition.scores.items():
        n, below, found = sum(scores.documents.values()), 0, {}
        waiting = list(QUANTILES)
        for value in sorted(scores.documents):
            below += scores.documents[value]
            while waiting and below >= waiting[0] * n:
                found[waiting.pop(0)] = value
        least, most = (None if math.isinf(limit) else limit for limit in (scores.least, scores.most))
        rows.append(
            {
                "filter": name,
                "what": scores.what,
                "documents": n,
                "least": least,
                "most": most,
                "removed": composition.removed_by[name] / composition.looked_at.documents,
                "quantiles": found,
            }
        )
    return rows


def group_rows(composition: Composition, question: str) -> list[dict[str, Any]]:
    """A row for each answer to a question, the largest first: value, amounts, and shares with intervals.

    Columns: value, documents, bytes, tokens (of what was looked at); share (of documents), share_bytes,
    share_tokens, each a `Share`.
    """
    whole, n_corpus = composition.looked_at, composition.total.documents
    units = {"share": "documents", "share_bytes": "bytes"} | (
        {"share_tokens": "tokens"} if whole.tokens else {}
    )
    return [
        {
            "value": value,
            "documents": part.documents,
            "bytes": part.bytes,
            "tokens": part.tokens,
            **{name: share(part, whole, n_corpus, unit) for name, unit in units.items()},
        }
        for value, part in sorted(
            composition.groups.get(question, {}).items(), key=lambda item: (-item[1].bytes, item[0])
        )
    ]


def language_rows(composition: Composition) -> list[dict[str, Any]]:
    """`group_rows` of languages with name, share of the web (web), low_resource, and speakers in millions.

    None stands for what is not known. "und" (the model abstained) and "zxx" (no language) are rows, too.
    """
    rows = []
    for row in group_rows(composition, LANGUAGE):
        about = LANGUAGES.get(row["value"])
        names = {UNDETERMINED: "not determined", NO_LANGUAGE: "no language"}
        rows.append(
            row
            | {
                "name": about.name if about else names.get(row["value"], row["value"]),
                "web": about.share if about else None,
                "low_resource": about.low_resource if about else None,
                "speakers": about.speakers if about else None,
            }
        )
    return rows


def to_json(composition: Composition) -> dict[str, Any]:
    """All that is said of a corpus, as JSON has it."""

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        return {name: vars(value) if isinstance(value, Share) else value for name, value in row.items()}

    total, looked_at = composition.total, composition.looked_at
    n_tokens = round(looked_at.tokens / looked_at.bytes * total.bytes) if looked_at.bytes else 0
    groups = {
        name: list(map(plain, group_rows(composition, name)))
        for name in composition.groups
        if name != LANGUAGE
    }
    return {
        "documents": total.documents,
        "bytes": total.bytes,
        "characters": total.characters,
        "tokens": n_tokens or None,
        "looked_at": looked_at.documents,
        "level": LEVEL,
        "copies": composition.texts.share_of_copies,
        "length_bytes": {
            f"{q:g}": round(value) for q, value in length_quantiles(composition.lengths).items()
        },
        "languages": list(map(plain, language_rows(composition))),
        "groups": groups,
        "removed_by": dict(composition.removed_by),
        "scores": [
            row | {"quantiles": {f"{q:g}": value for q, value in row["quantiles"].items()}}
            for row in score_rows(composition)
        ],
        "skipped": dict(composition.skipped),
    }
