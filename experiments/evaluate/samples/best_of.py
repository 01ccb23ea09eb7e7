"""The best of the samples to a prompt: by the network's own log-probability, by a vote, or by a reward."""

import runpy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from experiments.evaluate.trust.consistency import normalised
from models.decoding.best_of_n import best

# (prompt, samples) -> a score of each, of which the largest is the best
Scores = Callable[[str, Sequence[Any]], list[float]]
BY = ("logprob", "logprob_per_token", "vote", "gold")


def scores_by(name: str) -> Scores:
    """One of BY, the folder of a reward model, or `reward.py:name`, a function (prompt, text) -> number,
    whose file is run.

    A vote counts the samples with the same text, but for white space and a full stop at its end; samples that
    were cut off have none (self-consistency, Wang et al. 2023).

    Raises:
      ValueError: none of these.
    """
    if name == "logprob":
        return lambda prompt, samples: [sum(one.logprobs) for one in samples]
    if name == "logprob_per_token":
        return lambda prompt, samples: [sum(one.logprobs) / max(1, len(one.logprobs)) for one in samples]
    if name == "vote":
        return lambda prompt, samples: _votes(samples)
    path, colon, function = name.rpartition(":")
    if colon and path.endswith(".py"):
        reward = _function(path, function)
        return lambda prompt, samples: [float(reward(prompt, one.text)) for one in samples]
    from experiments.evaluate.samples.labels import scorer  # here: reads the reward model

    score = scorer(name)
    return lambda prompt, samples: score([(prompt, one.text) for one in samples]).tolist()


def best_of(prompt: str, samples: Sequence[Any], by: str, scores: Scores) -> tuple[Any, dict[str, Any]]:
    """The best sample, of equals the first, and {"by", "chosen": its index, "scores": of all}.

    Args:
      prompt: its text.
      samples: all of it.
      by: the name of the scores.
      scores: of `scores_by`.
    """
    found = scores(prompt, samples)
    chosen = best(range(len(samples)), lambda i: found[i])
    return samples[chosen], {"by": by, "chosen": chosen, "scores": found}


def said(about: dict[str, Any]) -> str:
    """What was chosen, in a line."""
    scores, chosen = about["scores"], about["chosen"]
    what = f"{scores[chosen]:.0f} votes" if about["by"] == "vote" else f"{scores[chosen]:.3f}"
    return f"sample {chosen + 1} is the best of {len(scores)} by {about['by']}: {what}"


def _answer(one: Any) -> str | None:
    return None if one.finish in ("length", "time") else normalised(one.text)


def _votes(samples: Sequence[Any]) -> list[float]:
    answers = [_answer(one) for one in samples]
    votes = Counter(answers)
    return [0.0 if answer is None else float(votes[answer]) for answer in answers]


def _function(path: str, name: str) -> Callable[[str, str], float]:
    try:
        found = runpy.run_path(path).get(name)
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise ValueError(f"{path} has no function {name!r}; it is reward(prompt, text) -> number")
    return cast(Callable[[str, str], float], found)
