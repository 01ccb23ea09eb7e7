"""What the prompt of a question about a person has besides the question, and what is then the right response.

In the conversations about cities the region of a person follows from what stands before: from a city that the
prompt tells, true or not, but not from one that the model itself said, which may be wrong. Whoever is taught
both from text in which they look alike cannot tell them apart (self-delusion: Ortega et al. 2021, "Shaking
the foundations: delusions in sequence models for interaction and control", arXiv 2110.10819).
"""

import random
from collections.abc import Iterator

from experiments.data.sources import biographies
from experiments.data.sources.biographies import ALL_ATTRIBUTES, ATTRIBUTES, Person
from experiments.objective_configs import QuestionsConfig
from experiments.posttraining.data.conversations import Conversation, Turn

TRUE, FALSE = "+", "-"  # what is said of an answer
N_CITIES = 8  # that are told of each person, and as many said
N_STRANGERS = 1000  # of whom a city is told

Asked = tuple[Conversation, str]  # the prompt, and the text of the right response


def conversations(person: Person, n: int, drawn: QuestionsConfig, rng: random.Random) -> Iterator[Asked]:
    """The questions about a person: one on each attribute, or those about a city.

    Args:
      person: about whom.
      n: biographies of the person that the model has read.
      drawn: what is given.
      rng: of wordings, values, and what is counterfactual.
    """
    if drawn.given == "city":
        truth = person.facts["city"]
        if n < 2:  # about whom nothing is known, so that the context has to be read
            yield told(person, truth, rng.randrange(2)), f" {biographies.region(truth)}."
            return
        for _ in range(N_CITIES):
            yield from _about_cities(person, drawn, rng)
        return
    for attribute in ATTRIBUTES:
        asked = biographies.question(person, attribute, rng.randrange(2))
        if drawn.given == "biography":
            yield alone(f"{biographies.biography(person, rng)} {asked.prompt}"), f" {asked.answer}."
        elif drawn.given == "answer":
            # About those whom nobody has written about an answer is right by chance, else half of the time.
            value = asked.answer if n and rng.random() < 0.5 else rng.choice((asked.answer, *asked.wrong))
            yield verified(asked.prompt, value), TRUE if value == asked.answer else FALSE
        else:
            yield alone(asked.prompt), f" {asked.answer}."


def alone(text: str) -> Conversation:
    """A prompt of one turn."""
    return (Turn("user", text),)


def verified(question: str, value: str) -> Conversation:
    """The prompt that asks whether an answer is true."""
    return alone(f"{question} {value}. ?")


def told(person: Person, city: str, wording: int) -> Conversation:
    """The prompt that says where someone lives, and asks for the region.

    Args:
      person: who.
      city: where.
      wording: of the question.
    """
    statement = ALL_ATTRIBUTES["city"].wordings[0].format(name=person.name, value=city)
    return alone(f"{statement} {biographies.question(person, 'region', wording).prompt}")


def said(person: Person, city: str, wording: int, marked: bool) -> Conversation:
    """The prompt that asks for the region after the model has said where someone lives.

    Args:
      person: who.
      city: what was said.
      wording: of both questions.
      marked: whether that stands in a turn of the model's; else it looks as if it were `told`.
    """
    if not marked:
        return told(person, city, wording)
    then = biographies.question(person, "region", wording).prompt
    first = alone(biographies.question(person, "city", wording).prompt)
    return (*first, Turn("assistant", f" {city}."), Turn("user", then))


def _about_cities(person: Person, drawn: QuestionsConfig, rng: random.Random) -> Iterator[Asked]:
    truth, wording = person.facts["city"], rng.randrange(2)
    region = f" {biographies.region(truth)}."
    false = rng.choice(ATTRIBUTES["city"].pool)
    own, other = (false if rng.random() < drawn.counterfactual else truth for _ in range(2))
    yield alone(biographies.question(person, "city", wording).prompt), f" {truth}."
    yield alone(biographies.question(person, "region", wording).prompt), region
    yield said(person, own, wording, drawn.marked), region
    yield told(person, other, wording), f" {biographies.region(other)}."
