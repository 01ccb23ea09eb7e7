"""Accuracy in two steps: the uncertainty of both reaches the interval."""

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.prediction.two_step import two_step
from scaling.table.runs import check
from tests.scaling.planted import isoflop_runs

LOW, HIGH, MIDDLE, SLOPE = 0.25, 0.95, 2.4, 4.0
NEW = {"n_params": np.array([3e9, 1e10]), "n_tokens": np.array([6e10, 2e11])}


def accuracy(loss):
    return LOW + (HIGH - LOW) / (1 + np.exp(SLOPE * (loss - MIDDLE)))


def fit_accuracy(noise, n=40):
    loss = np.linspace(1.9, 3.2, n)
    measured = accuracy(loss) + noise * np.random.default_rng(0).standard_normal(n)
    runs = check(pd.DataFrame({"loss": loss, "accuracy": measured}), {}, needed=("loss", "accuracy"))
    return scaling.fit(runs, law="downstream", n_bootstrap=200, delta=0.02)


@pytest.fixture(scope="module")
def fits():
    """{how noisy: fit}, of the loss and of the accuracy."""
    losses = {name: scaling.fit(isoflop_runs(noise=noise), n_bootstrap=200) for name, noise in NOISES.items()}
    return losses, {name: fit_accuracy(noise) for name, noise in NOISES.items()}


NOISES = {"exact": 1e-4, "noisy": 0.01}


def test_both_steps_tell_the_accuracy(fits):
    losses, accuracies = fits
    predicted = two_step(losses["exact"], accuracies["exact"], **NEW)
    assert predicted.loss == pytest.approx(
        accuracies["exact"].predict(loss=losses["exact"].predict(**NEW).loss).loss
    )
    assert np.all((predicted.lo < predicted.loss) & (predicted.loss < predicted.hi))


def test_uncertainty_of_the_loss_alone_becomes_that_of_the_accuracy(fits):
    losses, accuracies = fits
    loss, predicted = losses["noisy"].predict(**NEW), two_step(losses["noisy"], accuracies["exact"], **NEW)
    assert predicted.lo == pytest.approx(accuracies["exact"].predict(loss=loss.hi).loss, abs=0.005)
    assert predicted.hi == pytest.approx(accuracies["exact"].predict(loss=loss.lo).loss, abs=0.005)


def test_uncertainty_of_both_is_wider_than_of_each_and_narrower_than_their_sum(fits):
    losses, accuracies = fits

    def width(loss, accuracy):
        predicted = two_step(losses[loss], accuracies[accuracy], **NEW)
        return np.asarray(predicted.hi) - predicted.lo

    both, first, second = width("noisy", "noisy"), width("noisy", "exact"), width("exact", "noisy")
    assert np.all((both > np.maximum(first, second)) & (both < first + second))
    assert both == pytest.approx(np.hypot(first, second), rel=0.15)


def test_one_model_gives_numbers_and_no_draws_no_interval(fits):
    losses, accuracies = fits
    predicted = two_step(losses["exact"], accuracies["exact"], n_params=3e9, n_tokens=6e10)
    assert predicted.lo < predicted.loss < predicted.hi and np.ndim(predicted.lo) == 0
    bare = scaling.fit(isoflop_runs(), n_bootstrap=0)
    predicted = two_step(bare, accuracies["exact"], n_params=3e9, n_tokens=6e10)
    assert np.isnan(predicted.lo) and np.isfinite(predicted.loss)


def test_a_missing_column_is_named(fits):
    losses, accuracies = fits
    with pytest.raises(ValueError, match="n_tokens"):
        two_step(losses["exact"], accuracies["exact"], n_params=1e9)
