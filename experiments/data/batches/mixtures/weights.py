"""Shares of a mixture's components: fixed, by temperature, or UniMax. Shares are float64[k] and sum to 1."""

from collections.abc import Iterable, Mapping

import numpy as np

from experiments.data_configs import MixtureConfig
from experiments.fields import did_you_mean


def shares(mixture: MixtureConfig, tokens: Mapping[str, int], n_tokens: int) -> np.ndarray:
    """The share of the training rows of each component, in the order of `tokens`.

    Args:
      mixture: the settings.
      tokens: of each component, how many different ones may be read.
      n_tokens: of the whole run, UniMax's budget.

    Raises:
      ValueError: a name that is no component's, or a run longer than UniMax's epochs of all components.
    """
    check_known("weights", mixture.weights, tokens)
    counts = np.array(list(tokens.values()), np.float64)
    if mixture.weights:
        return normalised(np.array([mixture.weights.get(name, 0.0) for name in tokens]))
    if not mixture.max_epochs:
        return temperature_sampling(counts, mixture.temperature)
    if n_tokens > mixture.max_epochs * counts.sum():
        raise ValueError(
            f"data.mixture.max_epochs={mixture.max_epochs:g}: so many epochs of all components are "
            f"{mixture.max_epochs * counts.sum():,.0f} tokens, less than the run's {n_tokens:,}; allow more "
            "epochs or train on fewer tokens"
        )
    return unimax(counts, n_tokens, mixture.max_epochs)


def temperature_sampling(counts: np.ndarray, temperature: float) -> np.ndarray:
    """Shares proportional to n^(1 / temperature) (Arivazhagan et al. 2019, arXiv 1907.05019, section 4.1).

    At 1 a component's share is that of its tokens; towards infinity all shares are equal.
    """
    return normalised((counts / counts.max()) ** (1 / temperature))


def unimax(counts: np.ndarray, budget: float, max_epochs: float) -> np.ndarray:
    """Shares as equal as they can be without more than `max_epochs` passes over any component.

    From the smallest component on, each is given an equal part of what is left of the budget, or all its
    epochs if that is less (Chung et al. 2023, arXiv 2304.09151, Algorithm 1).

    Args:
      counts: float64[k], tokens of each component (characters in the paper).
      budget: tokens of the run; at most max_epochs times all of `counts`, or shares exceed the cap.
      max_epochs: passes over a component.
    """
    given, left = np.zeros(len(counts)), float(budget)
    for n_before, i in enumerate(np.argsort(counts, kind="stable")):
        given[i] = min(left / (len(counts) - n_before), counts[i] * max_epochs)
        left -= given[i]
    return normalised(given)


def normalised(weights: np.ndarray) -> np.ndarray:
    """Weights, not negative and not all 0, divided by their sum."""
    largest = weights.max()
    return (weights / largest) / (weights / largest).sum()


def check_known(field: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for a name of data.mixture's `field` that is none of the known components."""
    for name in names:
        if name not in known:
            raise ValueError(f"data.mixture.{field}: no component {name!r}; {did_you_mean(name, known)}")
