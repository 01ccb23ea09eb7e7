"""What a model makes up: wrong values stated as if they were true, and what follows from them.

Everything is asked by the text before a value, and answered by the probabilities of all values that it could
be (`experiments.evaluate.trust.knowledge` asks whole biographies). Answers that are drawn from these are what
sampling at temperature 1 gives; where nothing has to be drawn, numbers are expectations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.trust.knowledge import Place, in_one_pass, tokens_of

CATEGORIES = ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")


def answer_logps(loaded: LoadedModel, prompts: Sequence[str], values: Sequence[str]) -> np.ndarray:
    """float64[prompts,values]: log-probability of each value, in nats, where a prompt ends.

    Args:
      loaded: a decoder.
      prompts: texts up to the space before the value, each begun as a document is.
      values: what can follow.

    Raises:
      ValueError: a value that is not one token of the vocabulary.
    """
    ids = tokens_of(loaded.vocab, values)
    if (ids < 0).any():
        raise ValueError(
            f"values {', '.join(values[:3])}, …: one of them is several tokens; use data.vocab='words'"
        )
    places = [[Place(i, "", prompt)] for i, prompt in enumerate(prompts)]
    return np.array([logps_V[ids] for _, logps_V in in_one_pass(loaded, places)], np.float64)


def made_up(logps_QV: np.ndarray, truth_Q: np.ndarray) -> dict[str, np.ndarray]:
    """Of each question, float64[Q]: "nats", -log p(true value); "wrong", 1 if another value is the likeliest;
    "invented", the probability that what is sampled is a value, and not the true one; "stated", of any value.

    Args:
      logps_QV: of `answer_logps`.
      truth_Q: int, which value is true.
    """
    true_Q = np.take_along_axis(logps_QV, truth_Q[:, None], axis=1)[:, 0]
    stated_Q = np.exp(logsumexp(logps_QV, axis=1))
    wrong_Q = (logps_QV.argmax(axis=1) != truth_Q).astype(float)
    return {"nats": -true_Q, "wrong": wrong_Q, "invented": stated_Q - np.exp(true_Q), "stated": stated_Q}


def singleton_rate(counts: Mapping[str, int] | Sequence[int]) -> float:
    """Share of training examples whose subject occurs once: what Good and Turing take for the share of the
    distribution that was never seen, and a lower bound, but for small terms, of the rate of errors of a
    calibrated model (Kalai et al. 2025, arXiv 2509.04664, theorem 3).

    Args:
      counts: examples of each subject.
    """
    found = np.array(list(counts.values()) if isinstance(counts, Mapping) else counts)
    return float(np.sum(found == 1) / found.sum())


@dataclass(frozen=True)
class Chain:
    """A fact that another one implies: `first` ends before a value; `apart` asks for it in other words;
    `then`, behind the sentence that `first` begins or alone, ends before the value that it implies."""

    first: str
    apart: str
    then: str
    truth: str


def snowballing(
    loaded: LoadedModel, chains: Sequence[Chain], implied: Mapping[str, str], n: int, seed: int
) -> dict[str, np.ndarray]:
    """What a model says after wrong answers of its own (Zhang et al. 2023, arXiv 2305.13534).

    Each first fact is answered n times at temperature 1. Of every wrong answer that does not imply the truth
    all the same:
      chain: int, whose.
      after_own, after_truth, alone: the probability of a wrong value of the implied fact, behind this answer,
        behind the true one, and without either.
      repeated: 1 if the likeliest implied value behind the wrong answer is wrong, too.
      recognised: of those, 1 if the model answers otherwise when asked for the implied fact alone; else NaN.
      doubted: 1 if the first fact, asked apart in other words, has the truth likelier than the wrong answer.

    Args:
      loaded: a decoder.
      chains: what is asked.
      implied: by value of the first fact that of the other.
      n: answers to each.
      seed: of the answers.
    """
    values, others = list(implied), sorted(set(implied.values()))
    truth_Q = np.array([values.index(chain.truth) for chain in chains])
    follows_V = np.array([others.index(implied[value]) for value in values])
    logps_QV = answer_logps(loaded, [chain.first for chain in chains], values)
    said_QN = sample(logps_QV, n, seed)
    kept_QN = follows_V[said_QN] != follows_V[truth_Q][:, None]
    own, said = np.nonzero(kept_QN)[0], said_QN[kept_QN]
    own_answers = [(chains[i], values[v]) for i, v in zip(own.tolist(), said.tolist())]
    right = follows_V[truth_Q]

    def implied_probabilities(prompts: list[str]) -> np.ndarray:
        return np.exp(answer_logps(loaded, prompts, others))

    behind_own = implied_probabilities([f"{c.first} {value}. {c.then}" for c, value in own_answers])
    behind_truth = implied_probabilities([f"{c.first} {c.truth}. {c.then}" for c in chains])
    alone = implied_probabilities([chain.then for chain in chains])
    claimed, when_apart = behind_own.argmax(axis=1), alone.argmax(axis=1)[own]
    repeated = claimed != right[own]
    apart_QV = answer_logps(loaded, [chain.apart for chain in chains], values)
    return {
        "chain": own,
        "after_own": _other(behind_own, right[own]),
        "after_truth": _other(behind_truth, right)[own],
        "alone": _other(alone, right)[own],
        "repeated": repeated.astype(float),
        "recognised": np.where(repeated, when_apart != claimed, np.nan),
        "doubted": (apart_QV[own, truth_Q[own]] > apart_QV[own, said]).astype(float),
    }


def _other(p_QV: np.ndarray, truth_Q: np.ndarray) -> np.ndarray:
    """Of all that is given to values, what others than the true one have."""
    return 1 - p_QV[np.arange(len(p_QV)), truth_Q] / p_QV.sum(axis=1)


def sample(logps_QV: np.ndarray, n: int, seed: int) -> np.ndarray:
    """int[Q,n]: values drawn by their probabilities (the Gumbel-max trick)."""
    noise = np.random.default_rng(seed).gumbel(size=(len(logps_QV), n, logps_QV.shape[1]))
    return (logps_QV[:, None] + noise).argmax(axis=2)


def categories(logps_WQV: np.ndarray, truth_Q: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Which of CATEGORIES each question is of, int[Q], as Gekhman et al. 2024 (arXiv 2405.05904) have them:
    greedily right in all wordings, in some, in none but by a sample, or not at all.

    Args:
      logps_WQV: of `answer_logps`, in W wordings.
      truth_Q: int, which value is true.
      n: samples in each wording, at their temperature of 0.5.
      seed: of these.
    """
    greedy_WQ = logps_WQV.argmax(axis=2) == truth_Q
    drawn_WQ = [
        (sample(2 * each, n, seed + w) == truth_Q[:, None]).any(1) for w, each in enumerate(logps_WQV)
    ]
    known = [greedy_WQ.all(axis=0), greedy_WQ.any(axis=0), np.any(drawn_WQ, axis=0)]
    return np.select(known, range(3), 3)
