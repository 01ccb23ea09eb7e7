"""Which language a text is in, by py3langid: naive Bayes on bytes, 140 languages, weights in its wheel.

It abstains, as "und", where its confidence is below CONFIDENCE, and says "zxx" of what is no language:
digits, code, markup. Its errors on sentences of 65 languages are in benchmarks/RESULTS.md; on web text all
such models err more often (CommonLID, arXiv 2601.18026).
"""

import functools
from typing import Any

UNDETERMINED = "und"
NO_LANGUAGE = "zxx"
CONFIDENCE = 0.5  # below it the answer is "und"; where it stands between coverage and errors is in RESULTS.md
LOOKED_AT = 1000  # characters of a text that are looked at; more decide nothing


def identify(text: str) -> str:
    """The ISO 639 code of a text's language ("de"; three letters where there are no two), "und" or "zxx"."""
    language, confidence = rank(text)
    return language if confidence >= CONFIDENCE else UNDETERMINED


def rank(text: str) -> tuple[str, float]:
    """The likeliest language of the beginning of a text, and the model's own probability of it."""
    language, confidence = _model().classify(text[:LOOKED_AT])
    return language, float(confidence)


@functools.cache
def _model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # here: a third of a second

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
