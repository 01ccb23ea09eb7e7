"""Biographies: every fact is stated as often as it should be, and never in the wordings that are kept out."""

import random
from collections import Counter

import pytest

from experiments.data.sources import biographies
from experiments.data.sources.biographies import ATTRIBUTES, people
from experiments.data_configs import BiographiesConfig

CONFIG = BiographiesConfig(n_people=30, exposures=(1, 4, 2), questions=0.5, n_junk=7, source=True)
TRAIN = list(biographies.records(CONFIG))


def test_each_fact_is_stated_as_often_as_it_should_be():
    counts = Counter((document.fields["kind"], document.fields["person"]) for document in TRAIN)
    for i, person in enumerate(people(CONFIG)):
        n = CONFIG.exposures[i % 3]
        assert counts["biography", person.name] == biographies.exposures(CONFIG, i) == n
        assert counts["questions", person.name] == (n if biographies.is_questioned(CONFIG, i) else 0)
        stated = [
            d.text for d in TRAIN if d.fields["person"] == person.name and d.fields["kind"] == "biography"
        ]
        assert all(text.startswith("Book: ") for text in stated)
        assert all(f" {value}." in text for text in stated for value in person.facts.values())
    assert sum(n for (kind, _), n in counts.items() if kind == "junk") == CONFIG.n_junk
    by_level = Counter(i % 3 for i in range(30) if biographies.is_questioned(CONFIG, i))
    assert by_level == {0: 5, 1: 5, 2: 5}, "each number of exposures has its share of questions"


def test_nobody_is_known_junk_and_unseen_at_once():
    names = [person.name for kind in ("known", "junk", "unseen") for person in people(CONFIG, kind)]
    assert len(set(names)) == len(names) == 30 + 7 + biographies.N_HELD_OUT
    unseen = {person.name for person in people(CONFIG, "unseen")}
    assert not any(name in document.text for document in TRAIN for name in unseen)


def test_more_people_leave_those_there_are_as_they_were():
    more = people(BiographiesConfig(n_people=60))
    facts = {person.name: person.facts for person in more}
    assert all(facts[person.name] == person.facts for person in people(BiographiesConfig(n_people=30)))


def test_held_out_wordings_have_no_word_of_their_own_and_are_never_trained_on():
    held_out = list(biographies.held_out(CONFIG, "validation"))
    trained = {word for document in TRAIN for word in document.text.split()}
    assert not {document.text for document in held_out} & {document.text for document in TRAIN}
    for document, person in zip(held_out, people(CONFIG), strict=True):
        assert {word for word in document.text.split() if word[:-1] not in person.facts.values()} <= trained
        for attribute in ATTRIBUTES.values():
            fixed = attribute.wordings[-1].split("{value}")[0].format(name=person.name)
            assert fixed in document.text and not any(fixed in each.text for each in TRAIN)


def test_a_question_has_one_right_answer_among_all_values():
    person = people(CONFIG)[0]
    for name, attribute in ATTRIBUTES.items():
        asked = biographies.question(person, name)
        assert asked.answer == person.facts[name] and asked.prompt.endswith("?")
        assert sorted((*asked.wrong, asked.answer)) == sorted(attribute.pool)
        assert not any(asked.prompt in document.text for document in TRAIN)


def test_facts_are_drawn_evenly():
    """Chi-square of 2,000 people over 64 employers below its 0.999 quantile."""
    counts = Counter(person.facts["employer"] for person in people(BiographiesConfig(n_people=2000)))
    assert len(counts) == 64 and sum((n - 2000 / 64) ** 2 / (2000 / 64) for n in counts.values()) < 104


def test_a_biography_depends_on_its_generator_alone():
    person = people(CONFIG)[3]
    assert biographies.biography(person, random.Random(5)) == biographies.biography(person, random.Random(5))
    assert len({biographies.biography(person, random.Random(k)) for k in range(20)}) == 20


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_people": 0}, "n_people=0"),
        ({"exposures": ()}, r"exposures=\(\)"),
        ({"exposures": (1, 0)}, "each must be at least 1"),
        ({"questions": 1.5}, "questions=1.5"),
        ({"tail": 1.0}, r"tail=1.0 with exposures=\(8,\)"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        BiographiesConfig(**changes)


def test_more_people_than_names_are_refused():
    with pytest.raises(ValueError, match="8192 at most have different names"):
        people(BiographiesConfig(n_people=8000))


def test_a_region_is_implied_by_the_city_and_changes_nothing_else():
    config = BiographiesConfig(n_people=200, exposures=(2,), regions=True)
    with_regions, without = people(config), people(BiographiesConfig(n_people=200, exposures=(2,)))
    by_city: dict[str, set[str]] = {}
    for person, plain in zip(with_regions, without, strict=True):
        assert person.facts == plain.facts | {"region": biographies.region(person.facts["city"])}
        by_city.setdefault(person.facts["city"], set()).add(person.facts["region"])
    assert all(len(found) == 1 for found in by_city.values())
    cities = [biographies.region(city) for city in ATTRIBUTES["city"].pool]
    assert set(Counter(cities).values()) == {8}
    texts = [document.text for document in biographies.records(config)]
    person = with_regions[0]
    assert any(f"In which region does {person.name} live? {person.facts['region']}." in t for t in texts) == (
        biographies.is_questioned(config, 0)
    )
    assert sum(f" {person.facts['region']}." in text and person.name in text for text in texts) >= 2
    held_out = [document.text for document in biographies.held_out(config, "validation")]
    trained = {word for text in texts for word in text.split()}
    assert all("region" not in word or word in trained for text in held_out for word in text.split())


def test_exposures_of_a_heavy_tail_fall_by_rank_from_the_most_to_the_least():
    config = BiographiesConfig(n_people=60, exposures=(2, 100), tail=1.0)
    expected = [max(2, round(100 / rank)) for rank in range(1, 61)]
    assert [biographies.exposures(config, i) for i in range(60)] == expected
    told = Counter(d.fields["person"] for d in biographies.records(config) if d.fields["kind"] == "biography")
    assert [told[person.name] for person in people(config)] == expected
    asked = [biographies.is_questioned(config, i) for i in range(60)]
    assert asked == [i % 2 == 1 for i in range(60)], "half of them, whatever their rank"
    plain = BiographiesConfig()
    assert "tail" not in biographies.identity(plain), "corpora made before there were tails keep their names"
