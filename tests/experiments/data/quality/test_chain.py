"""Chains: names, order, the report, and filters that need more than the document."""

import random
from typing import Any

import pytest

from experiments.data.document import Document
from experiments.data.quality import chain, classifier, perplexity
from experiments.data_configs import QualityConfig
from tests.experiments.data.quality.test_rules import DROPPED, PROSE


def nothing(path: str) -> list[Document]:
    return []


def english(seed: int) -> str:
    """Some sentences that follow a grammar."""
    rng = random.Random(seed)
    nouns = ["dog", "cat", "house", "tree", "river", "man", "woman", "child", "boat", "stone"]
    verbs = ["saw", "took", "left", "found", "had"]
    return " ".join(
        f"The {rng.choice(nouns)} {rng.choice(verbs)} a {rng.choice(nouns)} by the {rng.choice(nouns)}."
        for _ in range(30)
    )


def test_names_are_of_rules_groups_and_the_default():
    assert chain.names_of(["gopher.symbols", "markup"]) == ["markup.page", "markup.tags", "gopher.symbols"]
    assert chain.names_of(["default"]) == list(chain.DEFAULT)
    assert chain.names_of(["votes", "default", "markup"])[-1] == "votes"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"filters": ("gophr",)}, "no filter 'gophr'; did you mean 'gopher'"),
        ({"filters": ("zzz",)}, "no filter 'zzz'; there are default, markup"),
        ({"filters": ("perplexity",)}, "'perplexity' learns from clean text; give data.quality.clean=PATH"),
        ({"filters": ("classifier",), "clean": "x"}, "learns what to drop from data.quality.unclean=PATH"),
        ({"filters": ("word_order",), "clean": "x"}, "0 documents for 'perplexity' or 'word_order'"),
        ({"filters": ("classifier",), "clean": "x", "unclean": "x"}, "clean: 0 documents"),
    ],
)
def test_a_wrong_chain_is_an_error_of_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        chain.make(QualityConfig(**changes), nothing)


def test_the_first_filter_that_drops_is_named():
    filters = chain.make(QualityConfig(), nothing)
    assert chain.judge(filters, Document(PROSE)) == ("", chain.KEEP)
    name, verdict = chain.judge(filters, Document(DROPPED["markup.page"]))
    assert name == "markup.page" and verdict.reason == "has <html>"


def test_reports_of_parts_add_up_to_that_of_the_whole():
    texts = [f"{k} {PROSE}"[: 40 + k] for k in range(30)]
    whole = chain.Removed()
    for text in texts:
        whole.add(text, "short")
    parts = [chain.Removed() for _ in range(3)]
    for k, text in enumerate(reversed(texts)):
        parts[k % 3].add(text, "short")
    total = chain.Removed()
    for part in parts:
        total.merge(part)
    assert total.to_json() == whole.to_json()
    assert whole.n_documents == 30 and whole.n_bytes == sum(map(len, texts)) and len(whole.examples) == 3


@pytest.mark.parametrize("value, keeps", [(3, True), (2, False), ("17", True), (2.5, False)])
def test_votes_are_counted(value: Any, keeps):
    (judge,) = chain.make(QualityConfig(("votes",), votes_field="karma"), nothing).values()
    assert judge(Document("text", {"karma": value})).keep == keeps


@pytest.mark.parametrize("fields", [{}, {"votes": None}, {"votes": "many"}])
def test_records_without_votes_are_an_error(fields):
    (judge,) = chain.make(QualityConfig(("votes",)), nothing).values()
    with pytest.raises(ValueError, match="needs a number in the field 'votes' of every record"):
        judge(Document("text", fields))


def test_perplexity_and_word_order_tell_text_from_its_letters_and_words_in_another_order():
    filters = perplexity.filters([english(seed) for seed in range(200)])
    new = english(1000)
    letters = "".join(random.Random(0).sample(new, len(new)))
    words = " ".join(random.Random(1).sample(new.split(), len(new.split())))
    assert all(judge(Document(new)).keep for judge in filters.values())
    assert not filters["perplexity"](Document(letters)).keep
    assert not filters["word_order"](Document(words)).keep


def test_bits_per_byte_are_those_of_a_distribution():
    """The probabilities of all bytes after a text sum to 1, or less where bytes share a place in a table."""
    model = perplexity.fit([english(seed) for seed in range(20)])
    start = "The dog saw a ca"

    def bits(text: str) -> float:
        return len(text) * perplexity.bits_per_byte(model, text)

    total = sum(2 ** (bits(start) - bits(start + chr(k))) for k in range(128))
    assert 0.9 < total < 1.001


def test_a_classifier_is_the_same_every_time():
    pytest.importorskip("sklearn")
    clean = [english(seed) for seed in range(30)]
    unclean = [english(seed).replace("a ", "our best ") for seed in range(30)]
    models = [classifier.fit(clean, unclean) for _ in range(2)]
    asked = [english(99), english(98).replace("a ", "our best ")]
    assert models[0](asked) == models[1](asked)
    judge = classifier.classifier(models[0])
    assert judge(Document(asked[0])).keep and not judge(Document(asked[1])).keep
