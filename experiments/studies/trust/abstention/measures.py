"""What a checkpoint would answer to the questions about people that it was not trained to answer."""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

import models
from experiments.config import RunConfig
from experiments.data.sources import biographies
from experiments.data.vocab import load_vocab
from experiments.objective_configs import QuestionsConfig
from experiments.posttraining.data.chat_template import load_template
from experiments.posttraining.data.questions import people
from experiments.training.checkpoints.load import load

ROWS = 128  # of a forward pass


@dataclass(frozen=True)
class Answers:
    """What is said to Q questions, about an attribute of a person each.

    logps_QV: float64, nats, of the first token of the response. right_Q: that of the right answer, -1 where
    the vocabulary has no single one: a model has never seen it. nothing: that of the response that abstains.
    exposures_Q: biographies of the person an epoch.
    """

    logps_QV: np.ndarray
    right_Q: np.ndarray
    nothing: int
    exposures_Q: np.ndarray

    def shares(self, temperature: float = 1.0) -> np.ndarray:
        """float64[Q,V]: what answers are drawn from if the response may not abstain; at 0 the likeliest."""
        logps_QV = self.logps_QV.copy()
        logps_QV[:, self.nothing] = -np.inf
        if temperature == 0:
            return np.eye(logps_QV.shape[1])[logps_QV.argmax(axis=1)]
        return np.exp(log_softmax(logps_QV / temperature, axis=1))

    @property
    def choice_Q(self) -> np.ndarray:
        """The likeliest answer."""
        return self.shares().argmax(axis=1)

    @property
    def is_right_Q(self) -> np.ndarray:
        """Whether the likeliest answer is right."""
        return self.choice_Q == self.right_Q

    @property
    def confidence_Q(self) -> np.ndarray:
        """The probability of the likeliest answer, if one is given."""
        return self.shares().max(axis=1)

    @property
    def stated_Q(self) -> np.ndarray:
        """The probability of the likeliest answer, where the response may abstain."""
        return np.exp(np.delete(self.logps_QV, self.nothing, axis=1).max(axis=1))

    @property
    def answered_Q(self) -> np.ndarray:
        """Whether an answer is likelier than to abstain."""
        return self.logps_QV.argmax(axis=1) != self.nothing

    def right_share(self, temperature: float) -> np.ndarray:
        """float64[Q]: the probability that an answer drawn at a temperature is right."""
        share_Q = np.take_along_axis(self.shares(temperature), self.right_Q[:, None], axis=1)[:, 0]
        return np.where(self.right_Q < 0, 0.0, share_Q)


def ask(
    runs: Path, config: RunConfig, drawn: QuestionsConfig, wording: int = 0, read: bool = False
) -> Answers:
    """The answers of a fine-tuned run to questions about the people of the validation split.

    Args:
      runs: the folder of all runs.
      config: the run.
      drawn: which people.
      wording: of the questions, by number.
      read: whether a biography of the person stands before the question.
    """
    assert config.examples is not None and config.data.biographies is not None
    _, params = load(runs / config.run_id)
    vocab = load_vocab(config.data)
    template = load_template(config.examples.template, vocab)
    prompts, right, exposures = [], [], []
    for person, n in people(config.data.biographies, drawn, "validation"):
        document = biographies.biography(person, random.Random(f"told {person.name}"))
        for attribute in biographies.ATTRIBUTES:
            asked = biographies.question(person, attribute, wording)
            prompts.append(template.question(f"{document} {asked.prompt}" if read else asked.prompt))
            answer = vocab.encode(f" {asked.answer}")
            right.append(answer[0] if len(answer) == 1 else -1)
            exposures.append(n)
    logps = _next_tokens(_forward(models.build(config.model)), params, prompts)
    nothing = vocab.encode(config.examples.abstention)[0]
    return Answers(logps, np.array(right), nothing, np.array(exposures))


@functools.cache
def _forward(model: Any) -> Callable[..., Any]:
    @jax.jit
    def forward(params, tokens_BT, lengths_B):
        logits_BTV = model.apply(params, tokens_BT)
        last_BV = jnp.take_along_axis(logits_BTV, lengths_B[:, None, None] - 1, axis=1)[:, 0]
        return jax.nn.log_softmax(last_BV)

    return forward


def _next_tokens(forward: Callable[..., Any], params: Any, prompts: list[list[int]]) -> np.ndarray:
    """float64[Q,V]: log-probabilities of what follows each prompt."""
    lengths = np.array([len(prompt) for prompt in prompts])
    n_rows = -(-len(prompts) // ROWS) * ROWS
    tokens = np.zeros((n_rows, 8 * -(-int(lengths.max()) // 8)), np.int32)
    for row, prompt in zip(tokens, prompts):
        row[: len(prompt)] = prompt
    lengths = np.pad(lengths, (0, n_rows - len(lengths)), constant_values=1)
    found = [
        np.asarray(forward(params, tokens[start : start + ROWS], lengths[start : start + ROWS]), np.float64)
        for start in range(0, n_rows, ROWS)
    ]
    return np.concatenate(found)[: len(prompts)]


def drawn_answers(answers: Answers, n: int, seed: int) -> np.ndarray:
    """int[Q,n]: answers drawn at temperature 1, none of them the one that abstains."""
    shares_QV = np.cumsum(answers.shares(), axis=1)
    draws_QN = np.random.default_rng(seed).random((len(shares_QV), n))
    return np.stack([np.searchsorted(row, draw * row[-1]) for row, draw in zip(shares_QV, draws_QN)])
