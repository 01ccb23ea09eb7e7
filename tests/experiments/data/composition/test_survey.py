"""A known mixture is recovered: exactly where all is read, within its intervals from a sample."""

import random

import pytest

from experiments.data.composition.shares import group_rows, language_rows, score_rows, to_json
from experiments.data.composition.survey import NONE, Questions, host, look_into, survey
from experiments.data.document import Document
from experiments.data.quality.verdict import Verdict, at_most
from experiments.data.sources import textfiles

SENTENCES = {
    "en": "The old house by the river had been empty for many years before anyone thought of living in it.",
    "de": "Das alte Haus am Fluss hatte viele Jahre leer gestanden, bevor jemand daran dachte.",
    "fr": "La vieille maison près de la rivière était restée vide pendant bien des années.",
    "ru": "Старый дом у реки много лет стоял пустым, прежде чем кто-нибудь подумал в нём жить.",
}
MIXTURE = {"en": 400, "de": 120, "fr": 60, "ru": 20}


def documents() -> list[Document]:
    made = [
        Document(
            f"{SENTENCES[lang]} {i}" + " x" * (i % 50),
            {"lang": lang, "url": f"https://www.{lang}.example/{i}"},
        )
        for lang, n in MIXTURE.items()
        for i in range(n)
    ]
    random.Random(0).shuffle(made)
    return made


def is_english(document: Document) -> Verdict:
    return Verdict(document.fields["lang"] == "en")


def test_a_known_mixture_is_recovered():
    found = survey(documents(), Questions(fields=("lang",), filters={"english": is_english}))
    for question in ("language", "lang"):
        assert {value: part.documents for value, part in found.groups[question].items()} == MIXTURE
    assert {value: part.documents for value, part in found.groups["domain"].items()} == {
        f"{lang}.example": n for lang, n in MIXTURE.items()
    }
    rows = {row["value"]: row for row in language_rows(found)}
    assert rows["en"]["share"].value == 400 / 600 == rows["en"]["share"].lo
    assert found.removed_by == {"english": 200, "any of these": 200}


def length(document: Document) -> Verdict:
    return at_most(80, len(document.text) / 3, "thirds of a text")


def test_what_filters_measure_is_told_by_quantiles():
    corpus = [Document("a" * n) for n in range(1, 301)]
    random.Random(0).shuffle(corpus)
    found = survey(corpus, Questions(identify=None, filters={"length": length, "any": is_any}), n_workers=2)
    (row,) = score_rows(found)  # the other one measures nothing
    assert row["filter"] == "length" and row["what"] == "thirds of a text" and row["documents"] == 300
    assert (row["least"], row["most"], row["removed"]) == (None, 80, 60 / 300)
    assert [row["quantiles"][q] for q in (0.01, 0.5, 0.75, 0.99)] == [1, 50, 75, 99]
    assert to_json(found)["scores"][0]["quantiles"]["0.5"] == 50


def is_any(document: Document) -> Verdict:
    return Verdict(True)


def test_a_sample_covers_the_truth_as_often_as_it_says():
    """90 % intervals of the shares of four languages, by documents and by bytes, 40 samples of a quarter."""
    corpus = documents()
    truth = {row["value"]: row for row in group_rows(look_into(corpus, Questions(None, ("lang",))), "lang")}
    inside = []
    for seed in range(40):
        changed = [Document(f"{document.text} {seed}", document.fields) for document in corpus]
        found = survey(changed, Questions(None, ("lang",)), n_sample=150)
        assert found.looked_at.documents == 150 and found.total.documents == 600
        for row in group_rows(found, "lang"):
            exact = truth[row["value"]]["share"].value
            inside.append(row["share"].lo <= exact <= row["share"].hi)
            exact = truth[row["value"]]["share_bytes"].value
            inside.append(row["share_bytes"].lo <= exact <= row["share_bytes"].hi)
    assert 0.85 <= sum(inside) / len(inside) <= 0.97


def test_a_sample_does_not_depend_on_the_order():
    corpus = documents()
    some = survey(corpus, Questions(None, ("lang",)), n_sample=50)
    assert some == survey(reversed(corpus), Questions(None, ("lang",)), n_sample=50)


def test_processes_change_nothing():
    questions = Questions(fields=("lang",), filters={"english": is_english})
    corpus = documents() * 2
    found = survey(corpus, questions, n_workers=2)
    assert found == survey(corpus, questions) and found.texts.share_of_copies == 0.5


def test_hosts_are_those_of_urls():
    assert host(Document("", {"url": "HTTP://www.A.example:80/x"})) == "a.example"
    assert host(Document("", {"url": "http://[broken/"})) == host(Document("", {"url": "nothing"})) == NONE
    assert host(Document("")) is None and host(Document("", {"url": 3})) is None


def test_json_has_no_numbers_that_json_has_not():
    import json

    assert json.loads(json.dumps(to_json(survey([])), allow_nan=False))["documents"] == 0


def test_public_languages_are_recovered(public_data):
    """Sentences of 65 languages, of which the model knows 62."""
    path = public_data / "corpora/multilingual_train.jsonl.xz"
    if not path.exists():
        pytest.skip(f"no {path}")
    wanted = {"de", "en", "fr", "ru", "ja", "ar"}
    corpus = [d for d in textfiles.records(str(path)) if d.fields["lang"] in wanted][::40]
    found = survey(corpus, Questions(fields=("lang",)))
    for row in group_rows(found, "lang"):
        said = found.groups["language"][row["value"]].bytes
        assert said == pytest.approx(row["bytes"], rel=0.1)
