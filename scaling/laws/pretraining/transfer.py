"""Transfer: what a model that has read other text needs no data for."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _value(theta: Array, x: Columns) -> Array:
    E, A, B, a, b, log_k, alpha, beta = theta
    log_n, log_d = jnp.log(x["n_params"]), jnp.log(x["unique_tokens"])
    log_transferred = log_k + alpha * log_d + beta * log_n
    # Of a run from scratch nothing is transferred, and the logarithm of nothing is left alone.
    log_effective = jnp.where(x["pretrained"] > 0, jnp.logaddexp(log_d, log_transferred), log_d)
    return E + A * jnp.exp(-a * log_n) + B * jnp.exp(-b * log_effective)


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, a, b, log_k, alpha, beta = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["unique_tokens"], units["loss"]
    log_k = log_k + (1 - alpha) * np.log(d) - beta * np.log(n)
    return np.stack([loss * E, loss * A * n**a, loss * B * d**b, a, b, log_k, alpha, beta], axis=-1)


TRANSFER = Law(
    name="transfer",
    params=("E", "A", "B", "a", "b", "log_k", "alpha", "beta"),
    columns=("n_params", "unique_tokens", "pretrained"),
    value=_value,
    unscale=_unscale,
    bounds=(
        *((0.0, 1.0), (1e-4, 50.0), (1e-4, 50.0), (0.02, 4.0), (0.02, 4.0)),
        *((-12.0, 12.0), (-2.0, 2.0), (-4.0, 4.0)),
    ),
    starts=tuple(
        (0.6, 0.3, 0.3, 0.4, b, log_k, alpha, beta)
        for b in (0.2, 0.5)
        for log_k in (-1.0, 1.0)
        for alpha in (0.0, 0.5)
        for beta in (0.1, 0.6)
    ),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2), (0.0, 2.0), (0.2, 0.3), (0.4, 0.4)),
    formula="E + A / N^a + B / (D_F + D_T)^b, D_T = e^log_k D_F^alpha N^beta where pretrained, else 0",
    source="D_T: Hernandez et al. 2021 (arXiv 2102.01293); the loss of so much data: chinchilla",
    use="runs on a domain from scratch (pretrained 0) and from a general model (pretrained 1)",
    dimensionless=("pretrained",),
)


def transferred(theta: np.ndarray, n_params: np.ndarray, unique_tokens: np.ndarray) -> np.ndarray:
    """Effective data transferred D_T: the tokens of the domain that a model from scratch would have had to
    read besides `unique_tokens` for the loss of one that was pretrained on other text.

    Args:
      theta: [..., 8], parameters of TRANSFER in the table's own units.
      n_params, unique_tokens: of the runs, broadcast against the leading axes of `theta`.
    """
    log_k, alpha, beta = np.moveaxis(np.asarray(theta)[..., 5:], -1, 0)
    return np.exp(log_k + alpha * np.log(unique_tokens) + beta * np.log(n_params))


def fraction_transferred(theta: np.ndarray, n_params: np.ndarray, unique_tokens: np.ndarray) -> np.ndarray:
    """D_T / (D_F + D_T), the part of the effective data that the pretraining stands for; of `transferred`."""
    found = transferred(theta, n_params, unique_tokens)
    return found / (unique_tokens + found)


def marginal_value(
    theta: np.ndarray, n_params: np.ndarray, unique_tokens: np.ndarray, pretrained: bool
) -> np.ndarray:
    """-dL/dD_F: the loss that one more unique token of the domain saves, nats per token and token.

    From scratch it is b B / D_F^(b+1); after pretraining b B (1 + alpha D_T / D_F) / (D_F + D_T)^(b+1).

    Args:
      theta: [..., 8], parameters of TRANSFER in the table's own units.
      n_params, unique_tokens: of the runs, broadcast against the leading axes of `theta`.
      pretrained: whether the model has read other text before.
    """
    B, b, alpha = (np.asarray(theta)[..., i] for i in (2, 4, 6))
    more = transferred(theta, n_params, unique_tokens) if pretrained else 0.0
    return b * B * (1 + alpha * more / unique_tokens) * (unique_tokens + more) ** (-b - 1)
