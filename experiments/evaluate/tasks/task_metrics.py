"""From responses to numbers: a value an item, then means with intervals, differences and calibration.

The names are those of the lm-evaluation-harness: of the choices' log-probabilities, `acc` takes the largest,
`acc_norm` the largest by character of the choice, `acc_bytes` by UTF-8 byte; of equals, the first.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.evaluate.statistics import intervals
from experiments.evaluate.statistics.intervals import Estimate
from experiments.evaluate.tasks.responses import Responses
from experiments.evaluate.tasks.task import Item, Task

# The number that stands for a task, by how it is asked.
MAIN = {"multiple_choice": "acc", "cloze": "acc", "exact_match": "exact_match"}
BOUNDS = {"prob": (0, 1), "brier": (0, 2)}  # of means; nats are at least 0
BOUNDED = ("acc", "acc_norm", "acc_bytes", "exact_match")  # those that chance and ceiling are about


@dataclass(frozen=True)
class MetricEstimate:
    """One number of one task."""

    task: str
    metric: str
    estimate: Estimate
    n: int
    chance: float | None
    ceiling: float | None


def item_values(task: Task, item: Item, record: dict[str, Any]) -> dict[str, float]:
    """Every metric of one item.

    `brier` is the sum over choices of (probability - right)^2 (Brier 1950), from 0 to 2; `nats` is the
    target's negative log-probability.
    """
    if task.metric == "exact_match":
        return {"exact_match": float(record["text"].strip() == item.target.strip())}
    if task.metric == "cloze":
        return {"acc": float(record["greedy"]), "nats": -record["logprob"]}
    right = item.choices.index(item.target)
    logprobs, probs = np.array(record["logprobs"]), probabilities(record)
    lengths = np.array([len(choice) for choice in item.choices])
    n_bytes = np.array([len(choice.encode()) for choice in item.choices])
    outcome = np.arange(len(probs)) == right
    return {
        "acc": float(np.argmax(logprobs) == right),
        "acc_norm": float(np.argmax(logprobs / lengths) == right),
        "acc_bytes": float(np.argmax(logprobs / n_bytes) == right),
        "prob": float(probs[right]),
        "brier": float(((probs - outcome) ** 2).sum()),
    }


def probabilities(record: dict[str, Any]) -> np.ndarray:
    """The model's probabilities of the choices, given that it is one of them."""
    logprobs = np.array(record["logprobs"])
    probs = np.exp(logprobs - logprobs.max())
    return probs / probs.sum()


def item_table(responses: Responses) -> dict[str, np.ndarray]:
    """Values of all items [n] by metric."""
    rows = [item_values(responses.task, *pair) for pair in zip(responses.items, responses.records)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def clusters(items: tuple[Item, ...]) -> np.ndarray:
    """What errors are clustered by [n]: the document, or the item itself where it has none."""
    return np.array([item.document or f"\0{i}" for i, item in enumerate(items)])


def results(responses: Responses, level: float = 0.9) -> list[MetricEstimate]:
    """Means of all metrics with intervals."""
    task, groups = responses.task, clusters(responses.items)
    return [
        MetricEstimate(
            task.name,
            name,
            intervals.mean(values, groups, level, BOUNDS.get(name, (0, math.inf))),
            len(values),
            task.chance if name in BOUNDED else None,
            task.ceiling if name in BOUNDED else None,
        )
        for name, values in item_table(responses).items()
    ]


def main_values(responses: Responses) -> np.ndarray:
    """The values [n] of the number that stands for the task."""
    return item_table(responses)[MAIN[responses.task.metric]]


def difference(a: Responses, b: Responses, level: float = 0.9) -> Estimate:
    """How much better `a` does than `b` on the items that both were asked, paired by item."""
    values = {item: value for item, value in zip(b.items, main_values(b))}
    both = [(item, x) for item, x in zip(a.items, main_values(a)) if item in values]
    items, ours = tuple(item for item, _ in both), np.array([x for _, x in both])
    theirs = np.array([values[item] for item in items])
    return intervals.difference(ours, theirs, clusters(items), level)


def mean_over_seeds(seeds: list[Responses], level: float = 0.9) -> intervals.SeedMean:
    """Mean over models that differ in their seed, on the items that all were asked."""
    common = set(seeds[0].items).intersection(*(one.items for one in seeds[1:]))
    items = tuple(item for item in seeds[0].items if item in common)
    values = [dict(zip(one.items, main_values(one))) for one in seeds]
    return intervals.mean_over_seeds(
        np.array([[of_seed[item] for item in items] for of_seed in values]), clusters(items), level
    )
