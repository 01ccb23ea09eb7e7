"""A trained judge of quality: logistic regression on hashed n-grams, as GPT-3's of hashed words (Brown et al.
2020, appendix A) and fastText's bags of n-grams (Joulin et al. 2016).

scikit-learn does both (HashingVectorizer, LogisticRegression); it comes with the extra "data". The hash is a
fixed one and the solver draws nothing: the same texts give the same judge.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.data.document import Document
from experiments.data.quality.verdict import Filter, Verdict, at_least
from experiments.files.extras import install_command

FEATURES = 1 << 16
NGRAMS = (1, 2)  # of words, in lower case
LONGEST = 100_000  # characters of a document that are looked at
FEWEST = 20  # texts of each kind


@dataclass(frozen=True)
class Classifier:
    """The probability that a text is of the clean kind."""

    features: Any
    regression: Any

    def __call__(self, texts: Sequence[str]) -> list[float]:
        rows = self.features.transform([text[:LONGEST] for text in texts])
        return self.regression.predict_proba(rows)[:, 1].tolist()


def fit(clean: Sequence[str], unclean: Sequence[str]) -> Classifier:
    """The classifier of some texts to be like and some to be unlike; each kind has half of the weight.

    Raises:
      ValueError: fewer than FEWEST of a kind; scikit-learn is not installed.
    """
    for name, texts in (("clean", clean), ("unclean", unclean)):
        if len(texts) < FEWEST:
            raise ValueError(
                f"data.quality.{name}: {len(texts)} documents for filter 'classifier' to learn from; give "
                f"{FEWEST} or more"
            )
    return Classifier(
        *regression_on_hashes(
            [text[:LONGEST] for text in (*clean, *unclean)],
            [1] * len(clean) + [0] * len(unclean),
            f"data.quality: filter 'classifier' needs scikit-learn: {install_command('data')}",
            tol=1e-6,
            n_features=FEATURES,
            token_pattern=r"[^\s\w]|\w+",
        )
    )


def regression_on_hashes(
    texts: Sequence[str], labels: Sequence[Any], missing: str, tol: float = 1e-4, **hashing: Any
) -> tuple[Any, Any]:
    """scikit-learn's HashingVectorizer and the LogisticRegression that was fitted to what it makes of texts;
    every label has the same weight.

    Args:
      texts: to learn from.
      labels: of each.
      missing: what to say where scikit-learn is not installed.
      tol: of the fit.
      hashing: settings of the vectorizer besides NGRAMS, such as n_features.

    Raises:
      ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import HashingVectorizer  # here: slow to import, and an extra
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ValueError(missing) from None
    features = HashingVectorizer(ngram_range=NGRAMS, alternate_sign=False, **hashing)
    regression = LogisticRegression(C=100.0, class_weight="balanced", max_iter=200, tol=tol)
    return features, regression.fit(features.transform(texts), labels)


def classifier(model: Classifier, least: float = 0.5) -> Filter:
    """The filter that drops what is clean with a probability below `least`."""
    return functools.partial(_judge, model, least)


def _judge(model: Classifier, least: float, document: Document) -> Verdict:
    return at_least(least, model([document.text])[0], "probability of clean text")
