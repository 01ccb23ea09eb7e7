"""A classifier of domains recovers a mixture of kinds it has labels of."""

import pickle
import random

import pytest

from experiments.data.composition.domains import UNDETERMINED, fit_domains
from experiments.data.composition.survey import Questions, survey
from experiments.data.document import Document
from experiments.data.sources import textfiles
from tests.extras import extra

extra("sklearn", "data")

WORDS = {
    "kitchen": ["salt", "pepper", "oven", "boil", "knife", "soup", "bread", "butter", "stir", "pan"],
    "sea": ["ship", "sail", "wave", "harbour", "anchor", "storm", "captain", "deck", "rope", "tide"],
}
BOTH = ["the", "a", "of", "in", "and", "was", "it", "to", "for", "with"]


def made(kind: str, n: int, seed: int) -> list[Document]:
    rng = random.Random(f"{kind} {seed}")
    return [Document(" ".join(rng.choices(WORDS[kind] + BOTH, k=40)), {"kind": kind}) for _ in range(n)]


def test_a_mixture_of_known_kinds_is_recovered():
    classify = fit_domains([*made("kitchen", 40, 0), *made("sea", 25, 0)], "kind")
    corpus = [*made("kitchen", 30, 1), *made("sea", 90, 1)]
    found = survey(corpus, Questions(identify=None, domain_of=pickle.loads(pickle.dumps(classify))))
    assert {name: part.documents for name, part in found.groups["domain"].items()} == {
        "kitchen": 30,
        "sea": 90,
    }


def test_what_it_does_not_know_it_does_not_name():
    kinds = ("kitchen", "sea")
    three = [Document(f"{word} " * 5, {"kind": kind}) for kind in kinds for word in WORDS[kind] * 3]
    three += [Document("abc def ghi " * 5, {"kind": "letters"})] * 30
    assert fit_domains(three, "kind")(Document("nothing like anything")) == UNDETERMINED


@pytest.mark.parametrize(
    "labelled, message",
    [
        (made("sea", 30, 0), r"domains: 20 labelled documents each, of two or more \(field 'kind': sea 30\)"),
        ([*made("sea", 30, 0), *made("kitchen", 3, 0)], "kitchen 3"),
        ([Document("x", {"url": "u"})], r"no field 'kind' \(its fields: url\)"),
    ],
)
def test_labels_that_do_not_suffice_are_said(labelled, message):
    with pytest.raises(ValueError, match=message):
        fit_domains(labelled, "kind")


@pytest.mark.slow
def test_public_domains_are_recovered(public_data):
    """Novels, modules of Python and pages on medicine, 200 texts of each to learn from."""
    files = {"fiction": "train", "python": "domain_python", "medicine": "domain_medical"}
    documents = []
    for kind, name in files.items():
        path = public_data / f"corpora/{name}.jsonl.xz"
        if not path.exists():
            pytest.skip(f"no {path}")
        texts = [document.text for document in textfiles.records(str(path))]
        documents.append([Document(text, {"kind": kind}) for text in random.Random(0).sample(texts, 400)])
    classify = fit_domains([d for kind in documents for d in kind[:200]], "kind")
    right = [classify(d) == d.fields["kind"] for kind in documents for d in kind[200:]]
    assert sum(right) / len(right) > 0.98
