"""One answer out of several: by the model's own log-probability, by a reward, or by a vote.

Each function takes the samples of one prompt and returns the index of the one it chooses; of equals, the
first.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Scored(Protocol):
    """What `sample` and `sample_constrained` return, as far as it matters here."""

    @property
    def logprobs(self) -> tuple[float, ...]: ...


def likeliest(samples: Sequence[Scored]) -> int:
    """The largest sum of log-probabilities; short samples have an advantage."""
    return best(samples, lambda one: sum(one.logprobs))


def likeliest_per_token(samples: Sequence[Scored]) -> int:
    """The largest mean of log-probabilities."""
    return best(samples, lambda one: sum(one.logprobs) / len(one.logprobs))


def best(samples: Sequence[T], reward: Callable[[T], float]) -> int:
    """The largest reward.

    Raises:
      ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples; give at least one")
    rewards = [reward(one) for one in samples]
    return rewards.index(max(rewards))


def majority(samples: Sequence[T], answer: Callable[[T], Hashable | None]) -> int:
    """The first sample with the answer that most samples have (self-consistency, Wang et al. 2023).

    A sample whose answer is None has no vote. Of answers with as many votes the one that came first wins:
    where no two agree, this is the first sample that has an answer. Without any, it is sample 0.

    Raises:
      ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples; give at least one")
    answers = [answer(one) for one in samples]
    votes = Counter(given for given in answers if given is not None)
    return answers.index(max(votes, key=lambda given: votes[given])) if votes else 0
