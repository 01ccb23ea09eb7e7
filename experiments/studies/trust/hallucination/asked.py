"""What runs make up: facts by how often they were read, people nobody has written about, and what follows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import models
from experiments.config import RunConfig
from experiments.data.sources import biographies
from experiments.data.sources.biographies import ALL_ATTRIBUTES, ATTRIBUTES, Person
from experiments.data_configs import BiographiesConfig
from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.evaluate.trust import hallucination
from experiments.evaluate.trust.hallucination import Chain

N_STRANGERS = 200  # people who are met once, and as many of whom there is nothing
REGION_OF = {city: biographies.region(city) for city in ATTRIBUTES["city"].pool}


def world_of(config: RunConfig) -> BiographiesConfig:
    """The people of a run's corpus."""
    assert config.data.biographies is not None
    return config.data.biographies


def before(person: Person, attribute: str, wording: int = 0) -> str:
    """A sentence of the corpus up to the space before the value."""
    sentence = ALL_ATTRIBUTES[attribute].wordings[wording]
    return sentence.split(" {value}")[0].format(name=person.name)


def facts(folder: Path, config: RunConfig) -> pd.DataFrame:
    """A row for each number of exposures, kind of people, and attribute: run_id, n_params, seed, junk (share
    of the rows read that are about people met once), kind, exposures (0 of the unseen), n (facts), and means
    of what `hallucination.made_up` says.

    Args:
      folder: of the study.
      config: the run.
    """
    loaded, world = load_model(folder / "runs" / config.run_id), world_of(config)
    groups = [
        (
            "known",
            n,
            [p for i, p in enumerate(biographies.people(world)) if biographies.exposures(world, i) == n],
        )
        for n in sorted(set(world.exposures))
    ]
    groups += [("junk", 1, list(biographies.people(world, "junk")[:N_STRANGERS]))]
    groups += [("unseen", 0, list(biographies.people(world, "unseen")[:N_STRANGERS]))]
    about = {"run_id": config.run_id, "n_params": models.count(config.model).n_params, "seed": config.seed}
    assert config.data.mixture is not None
    about["junk"] = config.data.mixture.weights.get("junk", 0.0)
    rows = []
    for attribute in ATTRIBUTES:
        asked = [(kind, n, person) for kind, n, people in groups for person in people]
        table = pd.DataFrame(answers(loaded, [person for *_, person in asked], attribute))
        table = table.assign(kind=[kind for kind, *_ in asked], exposures=[n for _, n, _ in asked], n=1)
        measured = dict.fromkeys(("nats", "wrong", "invented", "stated"), "mean") | {"n": "sum"}
        means = table.groupby(["kind", "exposures"], as_index=False).agg(measured)
        rows.append(means.assign(attribute=attribute, **about))
    return pd.concat(rows, ignore_index=True)


def answers(loaded: LoadedModel, people: Sequence[Person], attribute: str) -> dict[str, np.ndarray]:
    """What `hallucination.made_up` says of one attribute of people."""
    pool = ALL_ATTRIBUTES[attribute].pool
    logps = hallucination.answer_logps(loaded, [before(person, attribute) for person in people], pool)
    truth = np.array([pool.index(person.facts[attribute]) for person in people])
    return hallucination.made_up(logps, truth)


def snowballs(folder: Path, config: RunConfig, n_samples: int) -> dict[str, float]:
    """Means over wrong answers of a run to where known people live, and what it says of their region.

    Args:
      folder: of the study.
      config: the run.
      n_samples: answers about each.
    """
    loaded, known = load_model(folder / "runs" / config.run_id), biographies.people(world_of(config))
    chains = [
        Chain(before(p, "city"), before(p, "city", 1), before(p, "region"), p.facts["city"]) for p in known
    ]
    found = hallucination.snowballing(loaded, chains, REGION_OF, n_samples, config.seed)
    means = {name: float(np.nanmean(values)) for name, values in found.items() if name != "chain"}
    about = {"seed": config.seed, "n_params": models.count(config.model).n_params}
    return about | {"n_wrong": len(found["chain"]), "n_answers": n_samples * len(known)} | means


def over_the_corpus(table: Any, world: BiographiesConfig | None, biographies_share: float) -> pd.DataFrame:
    """A row a run: seed, junk, singletons (`hallucination.singleton_rate` of the biographies read), and over
    the distribution that these are a sample of: wrong, errors of the likeliest answer, and sampled, of
    answers at temperature 1.

    The distribution has known people in proportion to their exposures, and as a tail all who could be met
    once, read or not, as the bound has it.

    Args:
      table: of `facts`.
      world: of the people.
      biographies_share: of what is read about known people, the rest being questions.
    """
    assert world is not None
    rows = []
    for (seed, junk), run in table.groupby(["seed", "junk"]):
        tail = junk / (junk + (1 - junk) * biographies_share)
        once = hallucination.singleton_rate(world.exposures)
        means = run.groupby(["kind", "exposures"])[["wrong", "invented"]].mean()
        head = means.loc["known"]
        weights = head.index.to_numpy(float) / head.index.to_numpy(float).sum()
        errors = {"seed": seed, "junk": junk, "singletons": tail + (1 - tail) * once}
        for name in ("wrong", "invented"):
            of_tail = float(means.loc[("junk", 1), name])
            errors[name] = (1 - tail) * float(weights @ head[name]) + tail * of_tail
        rows.append(errors)
    return pd.DataFrame(rows)
