"""Downstream accuracy in two steps: a law predicts the loss, and a sigmoid of the loss the accuracy."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from scaling.fitting.result import Fit, Prediction

QUANTILES = 40  # equally likely values that stand for a forecast's distribution; even, so they are pairs


def two_step(loss_fit: Fit, accuracy_fit: Fit, **columns) -> Prediction:
    """The accuracy of new runs: the loss that one fit predicts, put into another fit of accuracy by loss.

    The interval holds the uncertainty of both steps and the noise of both measurements, taken as independent.

    Args:
      loss_fit: fit of any law of the loss (best: that of the correct answers); its level is the interval's.
      accuracy_fit: fit of a law that reads `loss`, such as downstream.
      columns: what loss_fit's law reads, arrays or scalars.

    Raises:
      ValueError: as `Fit.predict`; the intervals are NaN where a fit has no draws.
    """
    loss = loss_fit.predict(**columns)
    predicted = accuracy_fit.predict(loss=loss.loss)
    if np.any(np.isnan([loss.lo, predicted.lo])):  # no draws
        return predicted._replace(lo=predicted.loss * np.nan, hi=predicted.loss * np.nan)
    accuracies = _spread(accuracy_fit, {"loss": _spread(loss_fit, columns)})
    likely = accuracies.reshape(QUANTILES**2, *np.shape(predicted.loss))
    tail = (1 - loss_fit.level) / 2
    lo, hi = np.quantile(likely, [tail, 1 - tail], axis=0, method="hazen")  # each the middle of its share
    return predicted._replace(lo=lo, hi=hi)


def _spread(fit: Fit, columns: Mapping) -> np.ndarray:
    """[QUANTILES, *rows] equally likely values of the target."""
    levels = (np.arange(QUANTILES // 2) + 0.5) / (QUANTILES // 2)
    pairs = [replace(fit, level=level).predict(**columns) for level in levels]
    return np.concatenate([[pair.lo for pair in pairs], [pair.hi for pair in pairs]])
