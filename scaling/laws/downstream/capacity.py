"""How much of what there is to know a model learns, by its size and how often it meets each fact."""

from collections.abc import Mapping
from functools import cache

import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


@cache
def capacity(target: str = "learnt_share") -> Law:
    """A smooth form of the smaller of what there is to know and what the model can hold: for p that grows,
    the share is min(1, c N / known_bits), of a capacity c that many exposures bring to its limit c_max.

    `capacity:accuracy` reads the share of facts that are right, one less its error.
    """
    return Law(
        name="capacity" if target == "learnt_share" else f"capacity:{target}",
        params=("c_max", "E_half", "gamma", "p"),
        columns=("n_params", "known_bits", "exposures"),
        value=_value,
        unscale=_unscale,
        bounds=((1e-4, 1e4), (1e-4, 1e6), (0.05, 8.0), (0.1, 20.0)),
        starts=tuple((c, half, 1.0, p) for c in (0.5, 2.0) for half in (0.3, 1.0, 10.0) for p in (0.7, 2.0)),
        prior=(FREE, FREE, (1.0, 1.0), (1.5, 2.0)),
        formula="(1 + (known_bits / (c N))^p)^(-1/p), c = c_max / (1 + (E_half / exposures)^gamma)",
        source="our form; its limit, c N bits of known_bits, c = 2 at 1,000 exposures and 1 at 100, is of "
        "Allen-Zhu & Li 2024 (arXiv 2404.05405), results 1 and 2",
        use="share of known facts that is learnt; known_bits: bits of all facts; exposures: of each fact; "
        "capacity:TARGET for others",
        target=target,
        scale="linear",
        same_unit=(("known_bits", "n_params"),),
    )


def _value(theta: Array, x: Columns) -> Array:
    c_max, E_half, gamma, p = theta
    held = c_max / (1 + (E_half / x["exposures"]) ** gamma)
    return (1 + (x["known_bits"] / (held * x["n_params"])) ** p) ** (-1 / p)


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    c_max, E_half, gamma, p = np.moveaxis(theta, -1, 0)
    return np.stack([c_max, E_half * units["exposures"], gamma, p], axis=-1)
