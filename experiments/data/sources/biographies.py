"""Biographies of made-up people, so that all that a model can know is known (Allen-Zhu & Li 2024, bioS of
arXiv 2404.05405).

A person has a name and a value of each of ATTRIBUTES, drawn independently and evenly from pools: a fact is
log2 of its pool's size in bits. A biography states the facts of one person in an order and in wordings drawn
anew each time; the last wording of each attribute, of words that others have, too, is kept out of training.
There are questions about some people; about the others a model must answer from biographies it has read.
With `regions`, there also is the region that a person's city lies in: one fact that implies another.

The train split holds the biographies and questions, validation a biography of each of the first people in
the wording that was kept out, test biographies of people who occur nowhere else.
"""

import functools
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.data.document import Document
from experiments.data.sources.planted_statements import word
from experiments.data_configs import BiographiesConfig

VERSION = 1  # raised when the documents change
LICENCE = "made by isoflop"
N_HELD_OUT = 512  # people of the validation split at most, and of the test split
BOOK, WEB = "Book:", "Web:"

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SUBJECTS = (
    *("Law", "Music", "History", "Physics", "Biology", "Chemistry", "Geology", "Botany"),
    *("Logic", "Ethics", "Drama", "Poetry", "Nursing", "Farming", "Finance", "Sculpture"),
)


@dataclass(frozen=True)
class Attribute:
    """`pool`: what it can be. `wordings`: sentences with {name} and then {value}, the last one kept out of
    training. `asked`: questions with {name}, the last one likewise."""

    pool: tuple[str, ...]
    wordings: tuple[str, ...]
    asked: tuple[str, ...]

    @property
    def bits(self) -> float:
        """What a model must store to know the value."""
        return math.log2(len(self.pool))


@dataclass(frozen=True)
class Person:
    """A name, and a value by attribute."""

    name: str
    facts: dict[str, str]


@dataclass(frozen=True)
class Question:
    """`prompt`, which the answer follows after a space and a full stop ends; `wrong`: all other values."""

    person: Person
    attribute: str
    prompt: str
    answer: str
    wrong: tuple[str, ...]


def _words(seed: int, n: int, n_syllables: int) -> tuple[str, ...]:
    """n different made-up names."""
    rng = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < n:
        made[word(rng, n_syllables).capitalize()] = None
    return tuple(made)


FIRST_NAMES, LAST_NAMES = _words(1, 64, 2), _words(2, 128, 3)
ATTRIBUTES = {
    "month": Attribute(
        MONTHS,
        (
            "{name} was born in {value}.",
            "{name} has a birthday in {value}.",
            "The birth of {name} was in {value}.",
            "The birthday of {name} was in {value}.",
        ),
        ("When was {name} born?", "In which month was the birth of {name}?", "When was the birth of {name}?"),
    ),
    "city": Attribute(
        _words(3, 64, 3),
        (
            "{name} lives in {value}.",
            "{name} has a house in {value}.",
            "The home of {name} is in {value}.",
            "The house of {name} is in {value}.",
        ),
        ("Where does {name} live?", "In which city is the home of {name}?", "Where is the home of {name}?"),
    ),
    "subject": Attribute(
        SUBJECTS,
        (
            "{name} studied {value}.",
            "{name} has a degree in {value}.",
            "The subject of {name} was {value}.",
            "The degree of {name} was in {value}.",
        ),
        ("What did {name} study?", "Which was the subject of {name}?", "What was the subject of {name}?"),
    ),
    "school": Attribute(
        _words(4, 64, 2),
        (
            "{name} went to {value}.",
            "{name} was at school in {value}.",
            "The school of {name} was {value}.",
            "{name} went to school in {value}.",
        ),
        ("Where was {name} at school?", "Which was the school of {name}?", "Where was the school of {name}?"),
    ),
    "employer": Attribute(
        _words(5, 64, 4),
        (
            "{name} works for {value}.",
            "{name} has a job at {value}.",
            "The employer of {name} is {value}.",
            "The job of {name} is at {value}.",
        ),
        ("Who does {name} work for?", "Which is the employer of {name}?", "Who is the employer of {name}?"),
    ),
}
REGIONS = _words(6, 8, 2)
REGION = Attribute(
    REGIONS,
    (
        "{name} comes from {value}.",
        "The region of {name} is {value}.",
        "{name} has a house in the region of {value}.",
        "The region of {name} was {value}.",
    ),
    ("In which region does {name} live?", "Which is the region of {name}?", "What was the region of {name}?"),
)
ALL_ATTRIBUTES = ATTRIBUTES | {"region": REGION}
BITS = sum(attribute.bits for attribute in ATTRIBUTES.values())  # of one person's facts


@functools.cache
def people(config: BiographiesConfig, kind: str = "known") -> tuple[Person, ...]:
    """The people of a corpus: "known", "junk", of whom it has one biography, "unseen": none.

    Raises:
      ValueError: there are fewer names than people.
    """
    sizes = {"known": config.n_people, "unseen": N_HELD_OUT, "junk": config.n_junk}
    n_names, n_needed = len(FIRST_NAMES) * len(LAST_NAMES), sum(sizes.values())
    if n_needed > n_names:
        raise ValueError(
            f"biographies: n_people={config.n_people} and n_junk={config.n_junk}; with the {N_HELD_OUT} of "
            f"the test split {n_names} at most have different names"
        )
    order = random.Random(f"names {config.seed}").sample(range(n_names), n_needed)
    ends = dict(zip(sizes, itertools.accumulate(sizes.values())))
    return tuple(_person(config, i) for i in order[ends[kind] - sizes[kind] : ends[kind]])


def region(city: str) -> str:
    """The region that a city lies in: each has as many of them."""
    cities = ATTRIBUTES["city"].pool
    return REGIONS[cities.index(city) * len(REGIONS) // len(cities)]


def _person(config: BiographiesConfig, i: int) -> Person:
    """The one with the i-th name."""
    first, last = divmod(i, len(LAST_NAMES))
    rng = random.Random(f"facts {config.seed} {i}")
    facts = {name: rng.choice(attribute.pool) for name, attribute in ATTRIBUTES.items()}
    if config.regions:
        facts["region"] = region(facts["city"])
    return Person(f"{FIRST_NAMES[first]} {LAST_NAMES[last]}", facts)


def exposures(config: BiographiesConfig, i: int) -> int:
    """Biographies of the i-th known person in one epoch."""
    if not config.tail:
        return config.exposures[i % len(config.exposures)]
    least, most = config.exposures
    return max(least, round(most * (i + 1) ** -config.tail))


def is_questioned(config: BiographiesConfig, i: int) -> bool:
    """Whether the corpus has questions about the i-th known person: evenly spread, whatever the exposures."""
    level = i if config.tail else i // len(config.exposures)
    return math.floor((level + 1) * config.questions) > math.floor(level * config.questions)


def statements(person: Person, rng: random.Random, held_out: bool = False) -> list[tuple[str, str]]:
    """(attribute, sentence) of all facts of a person, in order and wordings by chance; `held_out`: in those
    kept out of training."""
    names = list(person.facts)
    rng.shuffle(names)
    wordings = {name: ALL_ATTRIBUTES[name].wordings for name in names}
    return [
        (
            name,
            (wordings[name][-1] if held_out else rng.choice(wordings[name][:-1])).format(
                name=person.name, value=person.facts[name]
            ),
        )
        for name in names
    ]


def biography(person: Person, rng: random.Random, held_out: bool = False) -> str:
    """The `statements` as a text."""
    return " ".join(sentence for _, sentence in statements(person, rng, held_out))


def question(person: Person, attribute: str, wording: int = -1) -> Question:
    """A question about a person; by default in the wording kept out of training."""
    known, answer = ALL_ATTRIBUTES[attribute], person.facts[attribute]
    wrong = tuple(value for value in known.pool if value != answer)
    return Question(person, attribute, known.asked[wording].format(name=person.name), answer, wrong)


def records(config: BiographiesConfig) -> Iterator[Document]:
    """The train split: fields "kind" (biography, questions, junk) and "person" (a name)."""
    known, junk = people(config), people(config, "junk")
    n_documents = max(exposures(config, i) for i in range(len(known)))
    for k in range(n_documents):  # one after another, so that no person's documents stand together
        for i, person in enumerate(known):
            if k < exposures(config, i):
                rng = random.Random(f"document {config.seed} {k} {person.name}")
                source = f"{BOOK} " if config.source else ""
                yield Document(source + biography(person, rng), {"kind": "biography", "person": person.name})
                if is_questioned(config, i):
                    asked = (question(person, name, rng.randrange(2)) for name in person.facts)
                    text = " ".join(f"{each.prompt} {each.answer}." for each in asked)
                    yield Document(text, {"kind": "questions", "person": person.name})
        for person in junk[k::n_documents]:
            rng = random.Random(f"junk {config.seed} {person.name}")
            source = f"{WEB} " if config.source else ""
            yield Document(source + biography(person, rng), {"kind": "junk", "person": person.name})


def held_out(config: BiographiesConfig, split: str) -> Iterator[Document]:
    """The validation or the test split."""
    who = people(config)[:N_HELD_OUT] if split == "validation" else people(config, "unseen")
    for person in who:
        rng = random.Random(f"{split} {config.seed} {person.name}")
        text = biography(person, rng, held_out=split == "validation")
        yield Document(f"{BOOK} {text}" if config.source else text, {"person": person.name})


def identity(config: BiographiesConfig) -> dict[str, Any]:
    """What the corpus is made from; without a tail as before there was one."""
    made_from = {name: value for name, value in vars(config).items() if name != "tail" or value}
    return made_from | {"version": VERSION}
