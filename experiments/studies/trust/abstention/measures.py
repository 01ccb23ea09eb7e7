"""What a checkpoint would answer to the questions about people that it was not trained to answer."""

import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax

import models
from experiments.config import RunConfig
from experiments.data.sources import biographies
from experiments.data.vocab import Vocab, load_vocab
from experiments.evaluate.trust.prompted import next_logps
from experiments.objective_configs import QuestionsConfig
from experiments.posttraining.data import contexts
from experiments.posttraining.data.chat_template import ChatTemplate, load_template
from experiments.posttraining.data.questions import people
from experiments.training.checkpoints.load import load

_build = functools.cache(models.build)  # one program for all runs of a shape


@dataclass(frozen=True)
class Answers:
    """What is said to Q questions, about an attribute of a person each.

    logps_QV: float64, nats, of the first token of the response. right_Q: that of the right answer, -1 where
    the vocabulary has no single one: a model has never seen it. nothing: that of the response that abstains.
    exposures_Q: biographies of the person an epoch. Questions about one person follow each other.
    """

    logps_QV: np.ndarray
    right_Q: np.ndarray
    nothing: int
    exposures_Q: np.ndarray

    @property
    def person_Q(self) -> np.ndarray:
        """About whom each question is: their outcomes are not independent."""
        return np.arange(len(self.right_Q)) // len(biographies.ATTRIBUTES)

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
    runs: Path,
    config: RunConfig,
    drawn: QuestionsConfig,
    wording: int = 0,
    read: bool = False,
    split: str = "validation",
) -> Answers:
    """The answers of a fine-tuned run to questions about the people of a split.

    Args:
      runs: the folder of all runs.
      config: the run.
      drawn: which people.
      wording: of the questions, by number.
      read: whether a biography of the person stands before the question.
      split: "validation", or "train".
    """
    params, vocab, template = _loaded(runs, config)
    asked, exposures = _questions(config, drawn, wording, split)
    prompts, right = [], []
    for each in asked:
        document = biographies.biography(each.person, random.Random(f"told {each.person.name}"))
        prompts.append(template.question(f"{document} {each.prompt}" if read else each.prompt))
        answer = vocab.encode(f" {each.answer}")
        right.append(answer[0] if len(answer) == 1 else -1)
    logps = next_logps(_build(config.model), params, prompts)
    assert config.examples is not None
    nothing = vocab.encode(config.examples.abstention)[0]
    return Answers(logps, np.array(right), nothing, np.array(exposures))


def p_true(runs: Path, config: RunConfig, drawn: QuestionsConfig, answers: Answers) -> np.ndarray:
    """float64[Q]: how likely a run that has learnt to verify says that the likeliest answers are true.

    Args:
      runs: the folder of all runs.
      config: the run.
      drawn: which people; answers: those about them.
    """
    params, vocab, template = _loaded(runs, config)
    asked, _ = _questions(config, drawn, 0, "validation")
    values = [vocab.decode([token]).strip() for token in answers.choice_Q.tolist()]
    prompts = [
        template.prompt(contexts.verified(each.prompt, value)).tolist() for each, value in zip(asked, values)
    ]
    logps_QV = next_logps(_build(config.model), params, prompts)
    true, false = (logps_QV[:, vocab.encode(text)[0]] for text in (contexts.TRUE, contexts.FALSE))
    return expit(true - false)


def _loaded(runs: Path, config: RunConfig) -> tuple[Any, Vocab, ChatTemplate]:
    assert config.examples is not None
    vocab = load_vocab(config.data)
    return load(runs / config.run_id)[1], vocab, load_template(config.examples.template, vocab)


def _questions(
    config: RunConfig, drawn: QuestionsConfig, wording: int, split: str
) -> tuple[list[biographies.Question], list[int]]:
    """About each attribute of each person of a split, and how many biographies there are of them.

    Args:
      config: a run.
      drawn: which people.
      wording: of the questions.
      split: of them.
    """
    assert config.data.biographies is not None
    who = people(config.data.biographies, drawn, split)
    asked = [
        biographies.question(person, name, wording) for person, _ in who for name in biographies.ATTRIBUTES
    ]
    return asked, [n for _, n in who for _ in biographies.ATTRIBUTES]


def drawn_answers(answers: Answers, n: int, seed: int) -> np.ndarray:
    """int[Q,n]: answers drawn at temperature 1, none of them the one that abstains."""
    shares_QV = np.cumsum(answers.shares(), axis=1)
    draws_QN = np.random.default_rng(seed).random((len(shares_QV), n))
    return np.stack([np.searchsorted(row, draw * row[-1]) for row, draw in zip(shares_QV, draws_QN)])
