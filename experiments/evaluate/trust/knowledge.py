"""What a model knows of facts that are all known: the probability it gives every value a fact could have.

The facts are those of `experiments.data.sources.biographies`. They are asked for in one of WORDINGS: where a
biography in words that were trained on states them ("trained"), or one in the words that were kept out
("held_out"), or by a question in the words that were kept out ("question"). The tokens before a fact are
given, so one forward pass of a biography asks for all facts of a person.
"""

import functools
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from experiments.data.sources.biographies import (
    ATTRIBUTES,
    FIRST_NAMES,
    LAST_NAMES,
    Person,
    question,
    statements,
)
from experiments.data.vocab import Vocab, prompt_ids
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.tasks.loglikelihood import bucket, encode_pair, score_all
from models.configs.counting import Counts
from models.model import Model

WORDINGS = ("trained", "held_out", "question")
POOLS = {name: attribute.pool for name, attribute in ATTRIBUTES.items()}
TOKENS_PER_BATCH = 2**13
NAMED = "The home of"  # how a document begins before it says of whom it is


@dataclass(frozen=True)
class Place:
    """Where a document states a fact: `before`, its text up to there, and whose fact it is."""

    person: int
    attribute: str
    before: str


def fact_log_probabilities(
    loaded: LoadedModel, people: Sequence[Person], wording: str = "trained", seed: int = 0, source: str = ""
) -> dict[str, np.ndarray]:
    """By attribute: the log-probability in nats of every value of its pool, float64 [people, pool].

    Of a value that is one token it is that token's; of several tokens it is that of the value and the full
    stop after it, so that no value is another's beginning.

    Args:
      loaded: a decoder.
      people: of whom it is asked.
      wording: one of WORDINGS.
      seed: of the order and the words of biographies.
      source: what stands in front of a biography ("Book:"); questions have none.

    Raises:
      ValueError: an unknown wording, or a value whose probability is not finite.
    """
    if wording not in WORDINGS:
        raise ValueError(f"wording={wording!r}; allowed are {', '.join(WORDINGS)}")
    documents = [
        places for i, person in enumerate(people) for places in _documents(i, person, wording, seed, source)
    ]
    found = {name: np.full((len(people), len(pool)), np.nan) for name, pool in POOLS.items()}
    ids = {name: tokens_of(loaded.vocab, pool) for name, pool in POOLS.items()}
    if any((each >= 0).any() for each in ids.values()):
        for place, logprobs_V in in_one_pass(loaded, documents):
            found[place.attribute][place.person] = logprobs_V[ids[place.attribute]]
    several = {
        name: [value for value, token in zip(pool, ids[name]) if token < 0] for name, pool in POOLS.items()
    }
    _value_by_value(loaded, list(itertools.chain(*documents)), several, found)
    if not all(np.isfinite(each).all() for each in found.values()):
        raise ValueError("a value's probability is not finite: this checkpoint has diverged; ask another")
    return found


def learnt_bits(
    log_probabilities: dict[str, np.ndarray], people: Sequence[Person], normalised: bool = False
) -> np.ndarray:
    """log2 of the pool's size + log2 p(true value), float64 [people, attributes]: bits learnt of each fact.

    Its mean over people, log2 |pool| - E[-log2 p], is what the model must at least have stored of an
    attribute (Allen-Zhu & Li 2024, arXiv 2404.05405, the lower bound of their bit complexity). One fact may
    have less than 0: the model was sure of another value.

    Args:
      log_probabilities: of `fact_log_probabilities`.
      people: the same.
      normalised: over the pool; the bound takes what the model says as it is.
    """
    columns = []
    for name, logprobs_PV in log_probabilities.items():
        logprobs_PV = log_softmax(logprobs_PV, axis=1) if normalised else logprobs_PV
        true_P = [POOLS[name].index(person.facts[name]) for person in people]
        columns.append((logprobs_PV[np.arange(len(people)), true_P]) / math.log(2) + ATTRIBUTES[name].bits)
    return np.stack(columns, axis=1)


def accuracy(log_probabilities: dict[str, np.ndarray], people: Sequence[Person]) -> np.ndarray:
    """Whether the true value is the likeliest of its pool, bool [people, attributes]."""
    columns = [
        [POOLS[name][best] == person.facts[name] for best, person in zip(logprobs_PV.argmax(axis=1), people)]
        for name, logprobs_PV in log_probabilities.items()
    ]
    return np.array(columns).T


def learnt_name_bits(loaded: LoadedModel, people: Sequence[Person], source: str = "") -> np.ndarray:
    """log2 of the number of possible names + log2 p(name), float64 [people]: bits learnt of who there is.

    The bound counts them too, as names are few of those that could be. The model is asked for the name of a
    document that begins with NAMED.

    Args:
      loaded: a decoder.
      people: known ones.
      source: what stands in front of a document.
    """
    start = f"{source} {NAMED}" if source else NAMED
    rows = [encode_pair(loaded.vocab, start, f" {person.name}") for person in people]
    logprobs_P = np.array([each.logprob for each in score_all(loaded.model, loaded.params, rows)])
    return math.log2(len(FIRST_NAMES) * len(LAST_NAMES)) + logprobs_P / math.log(2)


def used_parameters(counts: Counts, d_model: int, n_unused: int, tied: bool) -> int:
    """All parameters but the rows and columns of tokens that no document has: nothing can be stored there.

    Args:
      counts: of the network.
      d_model: its width.
      n_unused: tokens of the vocabulary that do not occur.
      tied: whether the head is the embedding.
    """
    return counts.n_total - n_unused * d_model * (1 if tied else 2)


def _documents(i: int, person: Person, wording: str, seed: int, source: str) -> Iterator[list[Place]]:
    """The places of each document about a person; those of one document are parts of one text.

    Args:
      i, person: of whom they are.
      wording, seed, source: as of `fact_log_probabilities`.
    """
    if wording == "question":
        for name in ATTRIBUTES:
            yield [Place(i, name, question(person, name).prompt)]
        return
    places, text = [], source
    rng = random.Random(f"asked {seed} {person.name}")
    for name, sentence in statements(person, rng, held_out=wording == "held_out"):
        text = f"{text} {sentence}".lstrip()
        if name in ATTRIBUTES:  # no fact that others imply
            places.append(Place(i, name, text.removesuffix(f" {person.facts[name]}.")))
    yield places


def tokens_of(vocab: Vocab, pool: Sequence[str]) -> np.ndarray:
    """The token of each value behind a word, int[pool]; -1 for one of several tokens."""
    rows = [encode_pair(vocab, "is", f" {value}").continuation for value in pool]
    return np.array([row[0] if len(row) == 1 else -1 for row in rows])


def in_one_pass(loaded: LoadedModel, documents: Sequence[list[Place]]) -> Iterator[tuple[Place, np.ndarray]]:
    """Each place with the log-probabilities of all tokens there, float[vocabulary]."""
    encoded = [prompt_ids(loaded.vocab, places[-1].before) for places in documents]
    length = bucket(max(map(len, encoded)))
    n_rows = min(TOKENS_PER_BATCH // length, bucket(len(documents), 1))
    n_places = max(map(len, documents))
    for start in range(0, len(documents), n_rows):
        tokens_BT = np.zeros((n_rows, length), np.int32)
        last_BA = np.zeros((n_rows, n_places), np.int32)
        batch = documents[start : start + n_rows]
        for b, places in enumerate(batch):
            row = encoded[start + b]
            tokens_BT[b, : len(row)] = row
            last_BA[b, : len(places)] = [len(loaded.vocab.encode(place.before)) for place in places]
        logprobs_BAV = jax.device_get(_next_token(loaded.model, loaded.params, tokens_BT, last_BA))
        for b, places in enumerate(batch):
            yield from zip(places, logprobs_BAV[b])


@functools.partial(jax.jit, static_argnums=0)
def _next_token(model: Model, params: Any, tokens_BT: jax.Array, last_BA: jax.Array) -> jax.Array:
    """Log-probabilities of the token after each of the tokens `last`, [B, A, V]."""
    x_BTD, _ = model.hidden(params, tokens_BT)
    logits_BAV = model.logits(params, jnp.take_along_axis(x_BTD, last_BA[..., None], axis=1))
    return jax.nn.log_softmax(logits_BAV, axis=-1)


def _value_by_value(
    loaded: LoadedModel,
    places: Sequence[Place],
    values: dict[str, list[str]],
    found: dict[str, np.ndarray],
) -> None:
    """Fills in `found` for some values of each attribute, each of which is a row of its own.

    Args:
      loaded: a decoder.
      places: where they are asked for.
      values: by attribute.
      found: by attribute, [people, pool].
    """
    asked = [(place, value) for place in places for value in values[place.attribute]]
    rows = [encode_pair(loaded.vocab, place.before, f" {value}.") for place, value in asked]
    for (place, value), score in zip(asked, score_all(loaded.model, loaded.params, rows)):
        at = POOLS[place.attribute].index(value)
        found[place.attribute][place.person, at] = score.logprob
