"""Learners whose loss is known without training: what a fit of the irreducible loss is tested on first.

Their text is that of the source `zipf_skills`, with skills without end. Two of them:

- apart: one half of the text is limited by memory alone (the n most common skills are known, of others it
  guesses), the other by data alone (every skill is known as well as Bayes' rule allows after D tokens). The
  excess over the entropy is a sum of two power laws, n^-1/2 and D^-1/3: Chinchilla's law holds.
- joint: one learner that keeps n skills, and learns each of them from D tokens. Both limits still hold, but
  what it is off by is no sum: skills that are not kept need no tokens.
"""

import functools

import numpy as np
import pandas as pd
from scipy.special import zeta

from experiments.data.sources.known_entropy import (
    ALPHA,
    ANSWERS,
    BLOCKS,
    KNOWN_SOURCES,
    RANGE,
    answer_entropy,
    answer_probabilities,
)

ENTROPY, ROW = KNOWN_SOURCES["zipf_skills"].loss, KNOWN_SOURCES["zipf_skills"].row_length
LEARNERS = ("apart", "joint")
MOST, DRAWS = 64, 4000  # times a skill was seen, from where on it is known; readings drawn for each number
# Skills one by one, then in groups of nearly equal probability.
FIRST_OF_GROUP = np.unique(np.concatenate([np.arange(1, 513), np.geomspace(512, 1e15, 1500).round()]))


def guessed(n_skills: float) -> float:
    """Nats a token above the entropy, when all but the n most common skills are guessed."""
    return _per_token(_gap() * zeta(1 + ALPHA, n_skills + 1) / zeta(1 + ALPHA))


def unlearnt(n_tokens: float, n_skills: float = np.inf) -> float:
    """Nats a token above the entropy that Bayes' rule costs on the n most common skills, after D tokens."""
    beyond = zeta(1 + ALPHA, FIRST_OF_GROUP) / zeta(1 + ALPHA)  # share of the skills from each one on
    share, size = -np.diff(beyond), np.diff(FIRST_OF_GROUP)
    by_mean, means = _mean_excess()
    seen = n_tokens / ROW * BLOCKS * share / size  # times a skill of each group, Poisson
    nats = np.interp(np.log(seen), np.log(means), by_mean, left=_gap())
    return _per_token(nats @ np.where(FIRST_OF_GROUP[:-1] <= n_skills, share, 0.0))


def grid(learner: str, n_skills: np.ndarray, n_tokens: np.ndarray, noise: float, seed: int) -> pd.DataFrame:
    """A table of runs: n_params (the skills kept), n_tokens, loss with noise; E is ENTROPY.

    Args:
      learner: one of LEARNERS.
      n_skills, n_tokens: of the grid, every pair of them.
      noise: standard deviation of the log of the loss.
      seed: of the noise.
    """
    rng, rows = np.random.default_rng(seed), []
    for n in n_skills:
        for d in n_tokens:
            excess = guessed(n) + unlearnt(d, n if learner == "joint" else np.inf)
            loss = (ENTROPY + excess) * np.exp(noise * rng.standard_normal())
            rows.append({"n_params": float(n), "n_tokens": float(d), "loss": loss})
    return pd.DataFrame(rows)


def _gap() -> float:
    """What an answer costs, above its entropy, when its skill is not known."""
    return float(np.log(RANGE)) - answer_entropy()


def _per_token(nats: float) -> float:
    """Of nats an answer."""
    return float(nats) * BLOCKS * ANSWERS / ROW


@functools.cache
def _mean_excess() -> tuple[np.ndarray, np.ndarray]:
    """(excess of an answer's nats [means], means): by how often its skill was seen on average."""
    by_count = np.array([_excess_after(count) for count in range(MOST + 1)])
    means = np.geomspace(1e-3, MOST / 2, 200)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, MOST + 1)))])
    log_p = np.arange(MOST + 1) * np.log(means)[:, None] - means[:, None] - log_factorial
    return np.exp(log_p) @ by_count, means


def _excess_after(count: int) -> float:
    """Of Bayes' prediction of an answer, after `count` noisy readings of it."""
    rng, (right, wrong) = np.random.default_rng(count), answer_probabilities()
    truth = np.array([right, *[wrong] * (RANGE - 1)])
    readings = rng.multinomial(count, truth, size=DRAWS)
    log_weight = readings * np.log(right / wrong)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    known = weight / weight.sum(axis=1, keepdims=True)
    predicted = known * right + (1 - known) * wrong
    return float(np.mean(-np.log(predicted) @ truth)) - answer_entropy()
