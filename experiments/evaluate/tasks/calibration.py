"""Whether a model is right as often as it is sure: calibration of multiple choice."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.evaluate.statistics.intervals import Estimate, mean
from experiments.evaluate.tasks.responses import Responses
from experiments.evaluate.tasks.task_metrics import probabilities

N_BINS = 10
CONFIDENCE_TITLE, ACCURACY_TITLE = "Probability that it gives its choice", "Share that is right"


@dataclass(frozen=True)
class ReliabilityBin:
    """Items whose confidence lies between two limits: how many, how sure, how often right."""

    n: int
    confidence: float
    accuracy: Estimate


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
    bins: tuple[ReliabilityBin, ...]


def calibrate(responses: Responses, n_bins: int = N_BINS) -> Calibration:
    """Calibration of the likeliest choice.

    Raises:
      ValueError: the task is not multiple choice.
    """
    if responses.task.metric != "multiple_choice":
        raise ValueError(
            f"{responses.task.name}: calibration needs choices, and its metric is {responses.task.metric}"
        )
    probs = [probabilities(record) for record in responses.records]
    confidence = np.array([p.max() for p in probs])
    right = [item.choices[int(p.argmax())] == item.target for item, p in zip(responses.items, probs)]
    return calibration_of(confidence, np.array(right, float), n_bins)


def calibration_of(confidence: np.ndarray, right: np.ndarray, n_bins: int = N_BINS) -> Calibration:
    """Calibration of stated probabilities [n] of being right [n] (0 or 1)."""
    where = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    inside = [where == k for k in range(n_bins) if (where == k).any()]
    bins = tuple(ReliabilityBin(int(m.sum()), float(confidence[m].mean()), mean(right[m])) for m in inside)
    share = np.array([one.n for one in bins]) / len(right)
    gap = np.array([one.confidence - one.accuracy.value for one in bins])
    above = np.array([one.accuracy.value for one in bins]) - right.mean()
    return Calibration(
        ece=float(share @ np.abs(gap)),
        brier=float(((confidence - right) ** 2).mean()),
        reliability=float(share @ gap**2),
        resolution=float(share @ above**2),
        uncertainty=float(right.mean() * (1 - right.mean())),
        bins=bins,
    )


def reliability_diagram(calibrations: dict[str, Calibration]) -> bytes:
    """The reliability diagram of each task as PNG: accuracy with its 90% interval against confidence."""
    from scaling.report import theme  # here: draws, and numbers do without

    rows = [
        {"task": f"{name}: ECE {one.ece:.3f}", "sure": b.confidence, "right": b.accuracy.value, "items": b.n}
        | {"lo": b.accuracy.lo, "hi": b.accuracy.hi}
        for name, one in calibrations.items()
        for b in one.bins
    ]
    diagonal = {"values": [{"at": 0}, {"at": 1}]}
    size = {"field": "items", "type": "quantitative", "title": "Items"}
    layers = [
        {
            "data": diagonal,
            "mark": {"type": "line", "color": theme.MUTED, "strokeDash": [4, 4]},
            "encoding": {"x": _axis("at", CONFIDENCE_TITLE), "y": _axis("at", ACCURACY_TITLE)},
        },
        {
            "mark": {"type": "rule", "color": theme.ACCENT, "opacity": 0.5},
            "encoding": {
                "x": _axis("sure", CONFIDENCE_TITLE),
                "y": _axis("lo", ACCURACY_TITLE),
                "y2": {"field": "hi"},
            },
        },
        {
            "mark": {"type": "circle", "color": theme.ACCENT, "opacity": 1},
            "encoding": {
                "x": _axis("sure", CONFIDENCE_TITLE),
                "y": _axis("right", ACCURACY_TITLE),
                "size": size,
            },
        },
    ]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": rows},
        "facet": {"field": "task", "type": "nominal", "title": None},
        "columns": 3,
        "spec": {"width": 260, "height": 260, "layer": layers},
        "config": theme.config(),
    }
    return theme.png(spec)


def _axis(field: str, title: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"domain": [0, 1]}}
