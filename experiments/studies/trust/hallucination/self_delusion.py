"""Whether models believe what they have said themselves, and what cures that (Ortega et al. 2021, arXiv
2110.10819): counterfactual data beside factual, without and with marks of who said what.

Each start is taught to tell the region of people (`experiments.posttraining.data.contexts`) from where they
live: as it has said, or been told. Of the people asked about here none was asked about in training."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import RunConfig
from experiments.data.sources import biographies
from experiments.data.sources.biographies import ATTRIBUTES, REGIONS, Person
from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.evaluate.trust.hallucination import sample
from experiments.evaluate.trust.knowledge import tokens_of
from experiments.evaluate.trust.prompted import next_logps
from experiments.objective_configs import QuestionsConfig
from experiments.posttraining.data import contexts, questions
from experiments.posttraining.data.chat_template import load_template
from experiments.posttraining.data.conversations import Conversation
from experiments.studies.trust.hallucination.asked import world_of
from experiments.studies.trust.hallucination.fine_tuning import TEMPLATE, configure

KNOWN = (16, 64, 128)  # exposures of the people that this is about: what is not known is made up in any case
# What is taught: how many of the cities in the context are false, and whether own words are marked.
WAYS = {
    "facts": QuestionsConfig(KNOWN, given="city"),
    "counterfactual": QuestionsConfig(KNOWN, given="city", counterfactual=0.5),
    "marked": QuestionsConfig(KNOWN, given="city", counterfactual=0.5, marked=True),
}
CITIES = ATTRIBUTES["city"].pool
REGION_OF = np.array([REGIONS.index(biographies.region(city)) for city in CITIES])


def taught(starts: Iterable[RunConfig], n_steps: int) -> list[tuple[RunConfig, str, RunConfig]]:
    """(start, way, run) of each of WAYS."""
    return [
        (start, way, configure(start, start, drawn, n_steps))
        for start in starts
        for way, drawn in WAYS.items()
    ]


def measured(folder: Path, starts: Iterable[RunConfig], n_steps: int, n_samples: int) -> pd.DataFrame:
    """A row a run: seed, way, n_wrong (own answers whose region is wrong) and shares of wrong regions, by the
    likeliest: after_own, behind such an answer; after_truth, behind the true city in its place; alone,
    without either; and of_told, behind another city, of another region, that the prompt tells.

    Args:
      folder: of the study.
      starts: pretrained runs.
      n_steps: of teaching.
      n_samples: answers to each first question.
    """
    rows = []
    for start, way, run in taught(starts, n_steps):
        loaded, drawn = load_model(folder / "runs" / run.run_id), QuestionsConfig(KNOWN)
        who = [person for person, _ in questions.people(world_of(start), drawn, "validation")]
        rows.append(
            {"seed": start.seed, "way": way} | _errors(loaded, who, WAYS[way].marked, n_samples, start.seed)
        )
    return pd.DataFrame(rows)


def _errors(
    loaded: LoadedModel, who: list[Person], marked: bool, n_samples: int, seed: int
) -> dict[str, float]:
    """Of one run.

    Args:
      loaded: it.
      who: who is asked about.
      marked: how it was taught.
      n_samples: answers to each first question; seed: of them.
    """
    truth_P = np.array([CITIES.index(person.facts["city"]) for person in who])
    cities_PV = _logps(loaded, [contexts.alone(_asked(person, "city")) for person in who], CITIES)
    said_PN = sample(cities_PV, n_samples, seed)
    own, draw = np.nonzero(REGION_OF[said_PN] != REGION_OF[truth_P][:, None])
    said = said_PN[own, draw]
    told_P = (truth_P + len(CITIES) // 2) % len(CITIES)  # never of the same region

    def regions(prompts: list[Conversation]) -> np.ndarray:
        return _logps(loaded, prompts, REGIONS).argmax(axis=1)

    after_own = regions([contexts.said(who[i], CITIES[v], 0, marked) for i, v in zip(own, said)])
    after_truth = regions([contexts.said(p, CITIES[v], 0, marked) for p, v in zip(who, truth_P)])
    alone = regions([contexts.alone(_asked(person, "region")) for person in who])
    of_told = regions([contexts.told(person, CITIES[v], 0) for person, v in zip(who, told_P)])
    true_P = REGION_OF[truth_P]
    return {
        "n_wrong": len(own),
        "after_own": float((after_own != true_P[own]).mean()),
        "after_truth": float((after_truth != true_P)[own].mean()),
        "alone": float((alone != true_P)[own].mean()),
        "of_told": float((of_told != REGION_OF[told_P]).mean()),
    }


def _asked(person: Person, attribute: str) -> str:
    return biographies.question(person, attribute, 0).prompt


def _logps(loaded: LoadedModel, prompts: list[Conversation], values: Any) -> np.ndarray:
    """float64[prompts,values]: log-probability of each value as the beginning of the response."""
    template = load_template(TEMPLATE, loaded.vocab)
    tokens = [template.prompt(prompt).tolist() for prompt in prompts]
    return next_logps(loaded.model, loaded.params, tokens)[:, tokens_of(loaded.vocab, values)]
