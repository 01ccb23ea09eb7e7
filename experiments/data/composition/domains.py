"""Which domain a text is of, learnt from labelled texts: logistic regression on hashed words and their pairs.

It is no better than its labels: a text of a kind that has none is given to the nearest, or to nobody where
the likeliest domain has less than CONFIDENCE. scikit-learn comes with the extra `data`.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from experiments.data.document import Document
from experiments.data.quality.classifier import regression_on_hashes
from experiments.files.extras import install_command

CONFIDENCE = 0.5
UNDETERMINED = "(not determined)"
FEATURES = 1 << 18
LOOKED_AT = 5000  # characters of a text that are looked at
FEWEST = 20  # texts of a domain


@dataclass(frozen=True)
class DomainClassifier:
    """Document to its domain; other processes can be sent it."""

    features: Any
    regression: Any

    def __call__(self, document: Document) -> str:
        found = self.regression.predict_proba(self.features.transform([document.text[:LOOKED_AT]]))[0]
        best = int(found.argmax())
        return str(self.regression.classes_[best]) if found[best] >= CONFIDENCE else UNDETERMINED


def fit_domains(labelled: Iterable[Document], label: str) -> DomainClassifier:
    """The classifier of documents whose field `label` is their domain. The same documents give the same one.

    Raises:
      ValueError: a document without the field, fewer than two domains or than FEWEST documents of one;
        scikit-learn is not installed.
    """
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for document in labelled:
        if label not in document.fields:
            raise ValueError(
                f"a labelled document has no field {label!r} "
                f"(its fields: {', '.join(document.fields) or 'none'})"
            )
        texts[str(document.fields[label])].append(document.text[:LOOKED_AT])
    if len(texts) < 2 or min(map(len, texts.values())) < FEWEST:
        counts = ", ".join(f"{name} {len(each)}" for name, each in texts.items()) or "none"
        raise ValueError(
            f"domains: {FEWEST} labelled documents each, of two or more (field {label!r}: {counts})"
        )
    names = sorted(texts)
    return DomainClassifier(
        *regression_on_hashes(
            [text for name in names for text in texts[name]],
            [name for name in names for _ in texts[name]],
            f"a classifier of domains needs scikit-learn: {install_command('data')}",
            n_features=FEATURES,
        )
    )
