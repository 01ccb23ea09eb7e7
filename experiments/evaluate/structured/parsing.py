"""Semantic parsing in several ways: questions to queries of `experiments.data.sources.queries`.

A pretrained checkpoint is asked by examples, and what it says is taken as it is, mended by a library
(json-repair) or by rules learnt from its own mistakes on training questions, or sampled under the query
language's regular expression. A fine-tuned one is asked by the question alone. A classifier says one field of
the query.

A query is valid if it is one of the language, and right if it has the same answer as the true one on each of
several tables by chance (test suites: Zhong, Yu & Klein 2020, arXiv 2010.02840).
"""

import functools
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.sources import queries
from experiments.data.sources.queries import Question
from experiments.data.vocab import prompt_ids
from experiments.evaluate.loaded_model import LoadedModel, chat_template
from experiments.evaluate.structured.json_documents import timed
from experiments.objective_configs import ClassifierConfig
from experiments.posttraining.classifier import headed
from experiments.posttraining.data.classes import tokens_of
from experiments.posttraining.estimators.token_logps import texts
from models.decoding.constraints.constrained_sampling import (
    ConstrainedSample,
    importance_weights,
    sample_constrained,
)
from models.decoding.constraints.masks import Vocabulary, regex
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.model import Model
from models.one_row import in_one_row

MAX_TOKENS = 48  # of an answer; the longest query has fewer
N_TABLES = 5
AS_IT_IS = SamplingSettings()  # temperature 1: importance weights are of what the model says itself


@dataclass(frozen=True)
class Answers:
    """`texts[q][k]`: answer k to question q; of an answer the mean tokens of its prompt and its own, and the
    seconds it takes (its share of a batch of all, compiling left out)."""

    texts: list[list[str]]
    prompt_tokens: float
    tokens: float
    seconds: float


def first_questions(seed: int, split: str, n: int) -> list[Question]:
    """The first n questions of a seed and split."""
    return list(itertools.islice(queries.questions(seed, split), n))


def prompts_by_example(
    loaded: LoadedModel, asked: Sequence[Question], shots: int, seed: int
) -> list[list[int]]:
    """The tokens of each question behind `shots` examples of its own, drawn from the training questions.

    Args:
      loaded: its vocabulary.
      asked: the questions.
      shots: examples of each.
      seed: of the examples.
    """
    examples, prompts = first_questions(seed, "train", shots * len(asked)), []
    for i, question in enumerate(asked):
        own = examples[i * shots : (i + 1) * shots]
        lines = [line for one in own for line in (one.text, json.dumps(one.query))]
        text = queries.in_lines([*lines, question.text])
        prompts.append(prompt_ids(loaded.vocab, text))
    return prompts


def line_end(loaded: LoadedModel) -> int:
    """The token that ends a line of a page.

    Raises:
      ValueError: a vocabulary in which no single token does.
    """
    found = [i for i, said in enumerate(loaded.token_bytes()) if said == queries.LINE.encode()]
    if not found:
        raise ValueError(
            f"no token says {queries.LINE!r}; the pages of 'queries' take data.vocab=sentencepiece"
        )
    return found[0]


def answers(loaded: LoadedModel, prompts: Sequence[Sequence[int]], end: int, n: int, seed: int) -> Answers:
    """n samples to each prompt.

    Args:
      loaded: the checkpoint.
      prompts: token ids.
      end: the token that ends an answer.
      n: answers to each.
      seed: of the samples; below 2^12.
    """
    seeds = [seed * 2**20 + i for i in range(len(prompts))]
    said, seconds = timed(
        lambda: sample(
            *(loaded.model, loaded.params, prompts, seeds, AS_IT_IS),
            n=n,
            max_tokens=MAX_TOKENS,
            eos_id=end,
            token_bytes=loaded.token_bytes(),
            width=256,
        )
    )
    n_tokens = np.mean([len(one.tokens) for some in said for one in some])
    strings = [[(one.text or "").strip() for one in some] for some in said]
    return Answers(strings, _mean_length(prompts), float(n_tokens), seconds / (n * len(prompts)))


def constrained_answers(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], end: int, n: int, seed: int
) -> tuple[Answers, list[list[ConstrainedSample]]]:
    """n samples to each prompt that are queries; and the samples, with their weights.

    Args:
      loaded: the checkpoint.
      prompts: token ids.
      end: the token that ends an answer.
      n: answers to each.
      seed: of the samples; below 2^12.
    """
    language = regex(" " + queries.PATTERN, Vocabulary(loaded.token_bytes(), end))
    seeds = [seed * 2**20 + i for i in range(len(prompts))]
    said, seconds = timed(
        lambda: sample_constrained(
            *(loaded.model, loaded.params, prompts, seeds, AS_IT_IS, [language] * len(prompts)),
            n=n,
            max_tokens=MAX_TOKENS,
            width=256,
        )
    )
    n_tokens = np.mean([len(one.tokens) for some in said for one in some])
    strings = [[one.text.strip() for one in some] for some in said]
    return Answers(strings, _mean_length(prompts), float(n_tokens), seconds / (n * len(prompts))), said


def fine_tuned_answers(loaded: LoadedModel, asked: Sequence[Question], n: int, seed: int) -> Answers:
    """n samples of a checkpoint that was taught conversations, to each question alone.

    Args:
      loaded: the checkpoint.
      asked: the questions.
      n: answers to each.
      seed: of the samples; below 2^12.
    """
    template = chat_template(loaded)
    return answers(loaded, [template.question(one.text) for one in asked], template.end_id, n, seed)


def mended(said: Answers, mend: Callable[[str], str]) -> Answers:
    """The same answers after post-processing, with the time that this takes."""
    began = time.perf_counter()
    found = [[mend(text) for text in some] for some in said.texts]
    n = sum(map(len, found))
    return replace(said, texts=found, seconds=said.seconds + (time.perf_counter() - began) / n)


def graded(asked: Sequence[Question], said: Answers, seed: int = 0) -> dict[str, np.ndarray]:
    """Of each answer, float[Q,n]: "valid", "right", and "label", whether it asks the same of weights.

    Args:
      asked: the questions.
      said: their answers.
      seed: of the tables.
    """
    rng = random.Random(f"tables {seed}")
    tables = [queries.draw_things(rng) for _ in range(N_TABLES)]
    found: dict[str, list[list[float]]] = {"valid": [], "right": [], "label": []}
    for question, some in zip(asked, said.texts):
        parsed = [queries.parse(text) for text in some]
        found["valid"].append([float(query is not None) for query in parsed])
        found["right"].append([float(same(query, question.query, tables)) for query in parsed])
        label = queries.label(question.query)
        found["label"].append(
            [float(query is not None and queries.label(query) == label) for query in parsed]
        )
    return {name: np.array(rows) for name, rows in found.items()}


def same(query: queries.Query | None, true: queries.Query, tables: Sequence[Sequence[queries.Thing]]) -> bool:
    """Whether a query has the true one's answer on every table."""
    return query is not None and all(
        queries.execute(query, table) == queries.execute(true, table) for table in tables
    )


def bias(samples: Sequence[Sequence[ConstrainedSample]], right_QN: np.ndarray) -> dict[str, float]:
    """What constraining each token, in the place of whole texts, did to the share of right answers.

    allowed: the model's own probability of an answer that is valid, the mean of the weights p / q, which is
    unbiased. weighted: the share of right answers among the model's valid ones, self-normalised. bias: how
    much larger the share among the samples is. worth: unweighted samples that a sample is worth. Answers that
    did not end weigh 0; questions none of whose did are left out of all but `allowed`.

    Args:
      samples: n of each of Q questions.
      right_QN: which of them are right.
    """
    logs = [[one.log_weight if one.finish == "eos" else -np.inf for one in some] for some in samples]
    ended = [q for q, some in enumerate(logs) if np.isfinite(some).any()]
    weights = [importance_weights(samples[q]) for q in ended]
    weighted = float(np.mean([w @ right_QN[q] for w, q in zip(weights, ended)])) if ended else np.nan
    plain = float(right_QN[ended].mean()) if ended else np.nan
    worth = np.mean([1 / np.sum(w**2) / len(w) for w in weights]) if ended else np.nan
    return {
        "allowed": float(np.exp(logs).mean()),
        "weighted": weighted,
        "bias": plain - weighted,
        "worth": float(worth),
    }


def classified(
    model: Model, params: Any, objective: ClassifierConfig, loaded: LoadedModel, asked: Sequence[Question]
) -> tuple[np.ndarray, float, float]:
    """What a classifier says of weights: right float[Q], tokens that it reads of a question, seconds.

    Args:
      model: the network.
      params: those of body and head.
      objective: which labels.
      loaded: the vocabulary.
      asked: the questions.
    """
    rows = [tokens_of(queries.in_lines([one.text]), loaded.vocab) for one in asked]
    lengths_B = np.array([len(row) for row in rows], np.int32)
    tokens_BT = np.stack([np.pad(row, (0, lengths_B.max() - len(row))) for row in rows])
    said_B, seconds = timed(lambda: np.asarray(_classify(model, objective)(params, tokens_BT, lengths_B)))
    wanted_B = [objective.labels.index(queries.label(one.query)) for one in asked]
    return (said_B == wanted_B).astype(float), _mean_length(rows), seconds / len(asked)


@functools.cache
def _classify(model: Model, objective: ClassifierConfig) -> Callable[..., jax.Array]:
    head, in_row = headed(model, objective), in_one_row(model)

    @jax.jit
    def classify(params, tokens_BT, lengths_B):
        apart = texts(in_row, lengths_B, lengths_B, tokens_BT.shape[1])
        return jnp.argmax(head.apply(params, tokens_BT, lengths_B, **apart), axis=-1)

    return classify


def _mean_length(rows: Sequence[Any]) -> float:
    return float(np.mean([len(row) for row in rows]))
