"""Counts of a corpus as a file: what was counted elsewhere is read here, and adds up with other counts."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.data.composition.counts import Amount, Composition, Scores, Texts
from experiments.files import read_json

ENDING = ".counts.json"
FORMAT = 1


def to_text(found: Composition) -> str:
    """The counts as JSON."""
    plain = {
        "format": FORMAT,
        "total": vars(found.total),
        "looked_at": vars(found.looked_at),
        "groups": {name: {k: vars(v) for k, v in answers.items()} for name, answers in found.groups.items()},
        "lengths": dict(found.lengths),
        "removed_by": dict(found.removed_by),
        "scores": {
            name: {
                "what": scores.what,
                "limits": [None if math.isinf(end) else end for end in (scores.least, scores.most)],
                "documents": dict(scores.documents),
            }
            for name, scores in found.scores.items()
        },
        "texts": {"level": found.texts.level, "copies": dict(found.texts.copies)},
        "skipped": dict(found.skipped),
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def read_counts(path: Path) -> Composition:
    """The counts in a file.

    Raises:
      ValueError: it has none, or is damaged.
      OSError: it cannot be read.
    """
    plain = read_json(path)
    if plain.get("format") != FORMAT:
        raise ValueError(f"{path} holds no counts of format {FORMAT}; count the corpus anew")
    try:
        return Composition(
            total=Amount(**plain["total"]),
            looked_at=Amount(**plain["looked_at"]),
            groups={
                name: {answer: Amount(**amount) for answer, amount in answers.items()}
                for name, answers in plain["groups"].items()
            },
            lengths=_numbers(int, plain["lengths"]),
            removed_by=plain["removed_by"],
            scores={name: _scores(scores) for name, scores in plain["scores"].items()},
            texts=Texts(_numbers(int, plain["texts"]["copies"]), plain["texts"]["level"]),
            skipped=plain["skipped"],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); count the corpus anew") from None


def _scores(plain: dict[str, Any]) -> Scores:
    least, most = plain["limits"]
    return Scores(
        plain["what"],
        -math.inf if least is None else least,
        math.inf if most is None else most,
        _numbers(float, plain["documents"]),
    )


def _numbers(kind: type, counts: Mapping[str, int]) -> dict[Any, int]:
    return {kind(key): n for key, n in counts.items()}
