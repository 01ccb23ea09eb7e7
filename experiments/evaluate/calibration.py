"""Whether a model is right as often as it is sure: calibration of multiple choice."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.evaluate.answers import Answers
from experiments.evaluate.metrics import probabilities

N_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Items whose confidence lies between two limits: how many, how sure, how often right."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """`ece` is the expected calibration error over bins of equal width (Guo et al. 2017, eq. 3); where items
    are few it is too large.

    `brier` is the mean of (confidence - right)^2 of the likeliest choice, and is reliability - resolution +
    uncertainty (Murphy 1973) but for the spread of confidence inside bins.
    """

    ece: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    bins: tuple[Bin, ...]


def calibrate(answers: Answers, n_bins: int = N_BINS) -> Calibration:
    """Calibration of the likeliest choice.

    Raises:
      ValueError: the task is not multiple choice.
    """
    if answers.task.metric != "multiple_choice":
        raise ValueError(
            f"{answers.task.name}: calibration needs choices, and its metric is {answers.task.metric}"
        )
    probs = [probabilities(record) for record in answers.records]
    confidence = np.array([p.max() for p in probs])
    right = [item.choices[int(p.argmax())] == item.target for item, p in zip(answers.items, probs)]
    return of_confidence(confidence, np.array(right, float), n_bins)


def of_confidence(confidence: np.ndarray, right: np.ndarray, n_bins: int = N_BINS) -> Calibration:
    """Calibration of stated probabilities [n] of being right [n] (0 or 1)."""
    where = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    inside = [where == k for k in range(n_bins) if (where == k).any()]
    bins = tuple(Bin(int(m.sum()), float(confidence[m].mean()), float(right[m].mean())) for m in inside)
    share = np.array([one.n for one in bins]) / len(right)
    gap = np.array([one.confidence - one.accuracy for one in bins])
    above = np.array([one.accuracy for one in bins]) - right.mean()
    return Calibration(
        ece=float(share @ np.abs(gap)),
        brier=float(((confidence - right) ** 2).mean()),
        reliability=float(share @ gap**2),
        resolution=float(share @ above**2),
        uncertainty=float(right.mean() * (1 - right.mean())),
        bins=bins,
    )


def picture(calibrations: dict[str, Calibration]) -> bytes:
    """The reliability diagram of each task as PNG: accuracy against confidence, points as large as full."""
    from scaling.report import theme  # here: draws, and numbers do without

    rows = [
        {"task": f"{name}: ECE {one.ece:.3f}", "sure": b.confidence, "right": b.accuracy, "items": b.n}
        for name, one in calibrations.items()
        for b in one.bins
    ]
    panel: dict[str, Any] = {
        "width": 260,
        "height": 260,
        "layer": [
            {
                "data": {"values": [{"at": 0}, {"at": 1}]},
                "mark": {"type": "line", "color": theme.MUTED, "strokeDash": [4, 4]},
                "encoding": {"x": _axis("at", "Probability that it gives its choice"),
                             "y": _axis("at", "Share that is right")},
            },
            {
                "mark": {"type": "line", "color": theme.ACCENT, "strokeWidth": 1.5},
                "encoding": {"x": _axis("sure"), "y": _axis("right")},
            },
            {
                "mark": {"type": "circle", "color": theme.ACCENT, "opacity": 1},
                "encoding": {"x": _axis("sure"), "y": _axis("right"),
                             "size": {"field": "items", "type": "quantitative", "title": "Items"}},
            },
        ],
    }  # fmt: skip
    head = {"field": "task", "type": "nominal", "title": None, "columns": 3}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": rows},
        "facet": head,
        "spec": panel,
        "config": theme.config(),
    }
    return theme.png(spec)


def _axis(field: str, title: str | None = None) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"domain": [0, 1]}}
