"""What models are asked, the distribution of their answers, and how consistent these are.

A fact's value is one token, so a forward pass gives the distribution of the answer: agreement, entropy and
flips are exact at every temperature, not estimated from samples (`sampled` checks them against some).
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import spearmanr

from experiments.data.sources.biographies import ATTRIBUTES, exposures, is_questioned, people, question
from experiments.data_configs import BiographiesConfig
from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.evaluate.statistics.intervals import mean
from experiments.evaluate.trust import consistency, perturbations
from experiments.evaluate.trust.answers import Asking, answer
from experiments.evaluate.trust.detectors import auroc
from experiments.evaluate.trust.questions import Question, in_orders, normal
from experiments.files import fingerprint
from models.decoding.prefill import padded
from models.model import Model

AT_ONCE = 512  # prompts of a forward pass
N_SLIPS = 2  # prompts with one character changed, of each question
MEASURES = ("agreement", "entropy", "flips", "accuracy", "trained_wording", "held_out_wording", "slips")
N_CHOICES = 4


class Asked(NamedTuple):
    """Questions Q about facts, each in W wordings: the three of the corpus, the last kept out of training,
    and then slips of the first.

    table: fact by fact person, attribute, exposures (of an epoch; 0 of unseen people), questioned, answer.
    """

    table: pd.DataFrame
    wordings: list[list[str]]


def asked_of(config: BiographiesConfig, n_unseen: int) -> Asked:
    """All facts of all known people, and of some unseen ones.

    Args:
      config: the corpus.
      n_unseen: people who are in no document.
    """
    known = [(p, exposures(config, i), is_questioned(config, i)) for i, p in enumerate(people(config))]
    unseen = [(p, 0, False) for p in people(config, "unseen")[:n_unseen]]
    rows, wordings = [], []
    for person, n, questioned in [*known, *unseen]:
        for name in ATTRIBUTES:
            rows.append({"person": person.name, "attribute": name, "exposures": n, "questioned": questioned})
            rows[-1]["answer"] = person.facts[name]
            texts = perturbations.wordings(person, name)
            wordings.append([*texts, *perturbations.one_character(texts[0], 0, N_SLIPS)])
    return Asked(pd.DataFrame(rows), wordings)


def logits_of(loaded: LoadedModel, asked: Asked) -> np.ndarray:
    """Logits of the first token of the answer, float32 [Q, W, V]."""
    vocab = loaded.vocab
    texts = [[vocab.eos_id, *vocab.encode(text)] for each in asked.wordings for text in each]
    width = max(map(len, texts))
    parts = []
    for first in range(0, len(texts), AT_ONCE):
        some = texts[first : first + AT_ONCE]
        tokens_BT, lengths_B = padded([*some, *([texts[0]] * (AT_ONCE - len(some)))], width)
        parts.append(np.asarray(_last(loaded.model, loaded.params, tokens_BT, lengths_B))[: len(some)])
    found = np.concatenate(parts)
    return found.reshape(len(asked.wordings), -1, found.shape[-1])


@functools.partial(jax.jit, static_argnums=0)
def _last(model: Model, params: Any, tokens_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    x_BTD, _ = model.hidden(params, tokens_BT)
    return model.logits(params, x_BTD[jnp.arange(len(x_BTD)), lengths_B - 1])


def at_temperature(
    logits_QWV: np.ndarray, answers_Q: np.ndarray, temperature: float
) -> dict[str, np.ndarray]:
    """MEASURES of each question [Q] at a temperature, exactly.

    agreement: how likely two answers to the first wording are equal; entropy in nats; flips: how likely one
    is not the greedy answer; accuracy: that it is right. trained_wording, held_out_wording, slips: how likely
    an answer to the second wording, to the third, to a slip equals one to the first.

    Args:
      logits_QWV: of the answer.
      answers_Q: the token of the right one.
      temperature: 0 is greedy.
    """
    if temperature:
        logp_QWV = log_softmax(logits_QWV.astype(np.float64) / temperature, axis=-1)
    else:
        best_QW1 = logits_QWV.argmax(axis=-1)[..., None]
        logp_QWV = np.where(np.arange(logits_QWV.shape[-1]) == best_QW1, 0.0, -np.inf)
    p_QWV = np.exp(logp_QWV)
    rows, greedy_Q = np.arange(len(p_QWV)), logits_QWV[:, 0].argmax(axis=-1)
    same_QW = np.einsum("qv,qwv->qw", p_QWV[:, 0], p_QWV)
    terms_QV = p_QWV[:, 0] * np.where(p_QWV[:, 0] > 0, logp_QWV[:, 0], 0.0)
    return {
        "agreement": same_QW[:, 0],
        "entropy": -terms_QV.sum(axis=-1),
        "flips": 1 - p_QWV[rows, 0, greedy_Q],
        "accuracy": p_QWV[rows, 0, answers_Q],
        "trained_wording": same_QW[:, 1],
        "held_out_wording": same_QW[:, 2],
        "slips": same_QW[:, 3:].mean(axis=1),
    }


def measured(
    run: Path, config: BiographiesConfig, n_unseen: int, temperatures: Sequence[float]
) -> pd.DataFrame:
    """A row for each temperature, number of exposures and whether people were questioned: means over facts of
    MEASURES, and of nats, -log p of the right answer.

    Args:
      run: the folder of a model.
      config: what it read.
      n_unseen: people who are in no document.
      temperatures: to answer at.
    """
    loaded, asked = load_model(run), asked_of(config, n_unseen)
    logits_QWV, answers_Q = logits_of(loaded, asked), answer_tokens(loaded, asked)
    nats_Q = -log_softmax(logits_QWV[:, 0].astype(np.float64), axis=-1)[np.arange(len(answers_Q)), answers_Q]
    parts = []
    for temperature in temperatures:
        each = pd.DataFrame(at_temperature(logits_QWV, answers_Q, temperature))
        groups = asked.table[["exposures", "questioned"]]
        parts.append(pd.concat([groups, each], axis=1).assign(temperature=temperature, nats=nats_Q))
    table: Any = pd.concat(parts).groupby(["temperature", "exposures", "questioned"]).mean()
    return table.reset_index()


def answer_tokens(loaded: LoadedModel, asked: Asked) -> np.ndarray:
    """The first token of each right answer, int[Q]; of known people's it is all of it."""
    return np.array([loaded.vocab.encode(f" {text}")[0] for text in asked.table["answer"]])


def detection(run: Path, config: BiographiesConfig, k: int, seed: int) -> dict[str, float]:
    """How well consistency tells right greedy answers from wrong ones, on the facts of known people.

    AUROC of agreement at temperature 1 ("exact"), of the same from k answers ("sampled"), of agreement with
    the held-out wording ("wordings"), and of the greedy answer's probability ("probability"); "spearman":
    rank correlation of exact agreement with the probability of the right answer.

    Args:
      run: the folder of a model.
      config: what it read.
      k: answers to a question.
      seed: of their draws.
    """
    loaded, asked = load_model(run), asked_of(config, 0)
    logits_QWV, answers_Q = logits_of(loaded, asked), answer_tokens(loaded, asked)
    found, rng = at_temperature(logits_QWV, answers_Q, 1.0), np.random.default_rng(seed)
    right_Q = logits_QWV[:, 0].argmax(axis=-1) == answers_Q
    p_QV = np.exp(log_softmax(logits_QWV[:, 0].astype(np.float64), axis=-1))
    drawn_QV = rng.multinomial(k, p_QV / p_QV.sum(axis=1, keepdims=True))
    sampled_Q = (drawn_QV * (drawn_QV - 1)).sum(axis=1) / (k * (k - 1))
    scores = {"exact": found["agreement"], "sampled": sampled_Q, "wordings": found["held_out_wording"]}
    scores["probability"] = p_QV.max(axis=1)
    correlation = float(spearmanr(found["agreement"], found["accuracy"]).statistic)  # type: ignore[attr-defined]
    return {name: auroc(each, right_Q) for name, each in scores.items()} | {"spearman": correlation}


def sampled(run: Path, config: BiographiesConfig, n: int, k: int) -> dict[str, Any]:
    """The exact agreement of answers to the first question about each of n people, and the difference of its
    estimate from k sampled answers, whose interval must hold 0.

    Args:
      run: the folder of a model.
      config: what it read.
      n: questions.
      k: answers to each.
    """
    loaded, asked = load_model(run), asked_of(config, 0)
    some = slice(0, n * len(ATTRIBUTES), len(ATTRIBUTES))
    chosen = Asked(pd.DataFrame(asked.table[some]), asked.wordings[some])
    found = at_temperature(logits_of(loaded, chosen), answer_tokens(loaded, chosen), 1.0)
    asking = Asking(1.0, max_tokens=1, stop=())
    said = answer(fingerprint(run), lambda: loaded, [each[0] for each in chosen.wordings], asking, k)
    apart = np.array([consistency.agreement(normal(each)) for each in said]) - found["agreement"]
    return {"exact": float(found["agreement"].mean()), "difference": vars(mean(apart, level=0.99))}


def orders(run: Path, config: BiographiesConfig, n: int) -> dict[str, float]:
    """Means of `consistency.order_effects` over questions about the n people of most exposures, with their
    choices listed, as no document does.

    Args:
      run: the folder of a model.
      config: what it read.
      n: people, a question each.
    """
    known = sorted(enumerate(people(config)), key=lambda each: -exposures(config, each[0]))[:n]
    names, asked = list(ATTRIBUTES), []
    for i, person in known:
        one = question(person, names[i % len(names)], 0)
        others = [other.facts[one.attribute] for _, other in known]
        wrong = [value for value in dict.fromkeys(others) if value != one.answer][: N_CHOICES - 1]
        if len(wrong) == N_CHOICES - 1:
            asked.append(Question(one.prompt, (), (one.answer, *wrong), one.answer))
    found = pd.DataFrame(in_orders(load_model(run), asked))
    return {str(name): float(value) for name, value in found.mean().items()}
