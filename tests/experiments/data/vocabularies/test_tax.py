"""Tokens for the same sentences: numbers counted by hand."""

import pytest

from experiments.data.document import Document
from experiments.data.vocabularies.tax import inequality, measure_tax, read_parallel
from experiments.data.vocabularies.vocab import ByteVocab, read_vocab
from experiments.data_report.tax import tax_section


def test_sentences_are_those_that_all_languages_have():
    pairs = [("en", 1, "one"), ("de", 2, "zwei"), ("en", 2, "two"), ("de", 1, "eins"), ("de", 3, "drei")]
    documents = [Document(text, {"lang": lang, "id": i}) for lang, i, text in pairs]
    assert read_parallel(documents, "lang", "id") == {"de": ["eins", "zwei"], "en": ["one", "two"]}
    with pytest.raises(ValueError, match="has no field 'key'"):
        read_parallel(documents, "lang", "key")
    with pytest.raises(ValueError, match="no value of field 'id' occurs in all languages"):
        read_parallel(
            [Document("x", {"lang": "a", "id": 1}), Document("y", {"lang": "b", "id": 2})], "lang", "id"
        )


def test_what_bytes_cost():
    """Four bytes in English, eight in Russian, of as many characters."""
    rows = measure_tax({"ru": ["ой", "да"], "en": ["oh", "so"]}, ByteVocab())
    assert [row.language for row in rows] == ["en", "ru"]
    russian = rows[1]
    assert (russian.tokens_per_byte, russian.tokens_per_character) == (1, 2)
    assert (russian.tokens_per_sentence, russian.tax) == (4, 2)
    assert inequality(rows) == pytest.approx(1 / 6)  # costs 2 and 4
    assert inequality(rows[:1] * 3) == pytest.approx(0)


def test_the_picture_has_a_cell_for_each_language_and_vocabulary():
    rows = measure_tax({"ru": ["ой"], "en": ["oh"]}, ByteVocab())
    section = tax_section({"bytes": rows, "again": rows})
    cells = section.figures[0].spec["datasets"]["tax"]
    assert {(cell["name"], cell["vocabulary"]) for cell in cells} == {
        (name, vocabulary) for name in ("English", "Russian") for vocabulary in ("bytes", "again")
    }


@pytest.mark.parametrize("name", ["nothing.json", "words"])
def test_what_is_no_vocabulary_is_said(name):
    with pytest.raises(ValueError, match=f"vocabulary {name!r}: expected bytes, a tokenizer.json"):
        read_vocab(name)
