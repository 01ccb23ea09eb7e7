"""The best mixture of training data: shares of the lowest weighted loss, under caps, by mixture laws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import LinearConstraint, minimize

from scaling import laws
from scaling.fitting.result import Fit
from scaling.laws import Law

PREFIX = "share_"
DRAWS = 200  # of the fits' parameters, behind intervals
STARTS, TRIED = 4, 4096  # searches, each from the best of so many random mixtures


@dataclass(frozen=True)
class BestMixture:
    """The shares of the lowest weighted loss.

    Attributes:
      shares: by domain, summing to 1; lo, hi: their intervals, of the laws' parameters alone. Ends of several
        shares need not sum to 1. All ends of intervals are NaN where a fit has no draws.
      loss: the weighted mean of the fits' targets there; loss_lo, loss_hi: for one new run, its noise
        included, as wide as if the fits' errors were one and the same.
      losses: each fit's own target there.
      level: of the intervals.
    """

    shares: dict[str, float]
    lo: dict[str, float]
    hi: dict[str, float]
    loss: float
    loss_lo: float
    loss_hi: float
    losses: tuple[float, ...]
    level: float


def best_mixture(
    fits: Sequence[Fit], weights: Sequence[float] | None = None, caps: Mapping[str, float] | None = None
) -> BestMixture:
    """The mixture of the lowest weighted mean of losses on several texts, one fit each.

    Fits are of laws that read shares alone (mixture:…), of the same domains. Under `mixture` and
    `mixture_own` the weighted loss is convex in the shares if no a is negative; searches from several starts
    serve the rest. Far from all mixtures that were run the laws are guesses, and only the intervals say so.

    Args:
      fits: one for each text whose loss counts.
      weights: of the fits, positive; equal if not given.
      caps: the largest share of a domain, by name, such as `epoch_caps` gives.

    Raises:
      ValueError: fits of other laws or of different domains, wrong weights, an unknown domain, or caps that
        leave no mixture.
    """
    fits, domains = list(fits), _domains(fits)
    weight = _weights(weights, len(fits))
    upper = _caps(caps or {}, domains)
    forms = tuple(laws.find(fit.forecast.law) for fit in fits)
    shares = _lowest(forms, weight, [fit.forecast.theta for fit in fits], upper, _starts(upper))
    n_draws = min(DRAWS, *(len(fit.forecast.samples) for fit in fits))
    drawn = np.array(
        [
            _lowest(forms, weight, [fit.forecast.samples[i] for fit in fits], upper, shares[None])
            for i in range(n_draws)
        ]
    )
    level = fits[0].level
    ends = (
        np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0) if n_draws else [shares * np.nan] * 2
    )
    x = {PREFIX + domain: share for domain, share in zip(domains, shares)}
    each = np.array([fit.predict(**x) for fit in fits])
    loss, low, high = weight @ each
    best, lo, hi = (dict(zip(domains, map(float, values))) for values in (shares, *ends))
    losses = tuple(map(float, each[:, 0]))
    return BestMixture(best, lo, hi, float(loss), float(low), float(high), losses, level)


def epoch_caps(unique_tokens: Mapping[str, float], n_tokens: float, epochs: float = 4.0) -> dict[str, float]:
    """The largest share of each domain that repeats none of its tokens more often than `epochs` times.

    unique · epochs / n_tokens, at most 1. Up to 4 epochs, repeated tokens are worth nearly as much as new
    ones: Muennighoff et al. 2023 (arXiv 2305.16264).

    Raises:
      ValueError: a number that is not positive.
    """
    for name, value in {**unique_tokens, "n_tokens": n_tokens, "epochs": epochs}.items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name}={value}; it must be positive and finite")
    return {domain: min(tokens * epochs / n_tokens, 1.0) for domain, tokens in unique_tokens.items()}


def _domains(fits: Sequence[Fit]) -> list[str]:
    if not fits:
        raise ValueError("no fit; give one for each text whose loss counts")
    read = [laws.find(fit.forecast.law).columns for fit in fits]
    for fit, columns in zip(fits, read):
        if not all(column.startswith(PREFIX) for column in columns):
            raise ValueError(
                f"the law {fit.law} reads {', '.join(columns)}; the best mixture takes fits of shares alone, "
                "for example of mixture:web,code"
            )
        if set(columns) != set(read[0]):
            raise ValueError(
                f"fits of different domains: {fit.law} and {fits[0].law}; all must read the same ones"
            )
    return [column.removeprefix(PREFIX) for column in read[0]]


def _weights(weights: Sequence[float] | None, n: int) -> np.ndarray:
    weight = np.asarray([1.0] * n if weights is None else weights, float)
    if weight.shape != (n,) or not np.all((weight > 0) & np.isfinite(weight)):
        raise ValueError(f"weights={weights}; there must be {n}, one for each fit, all positive")
    return weight / weight.sum()


def _caps(caps: Mapping[str, float], domains: Sequence[str]) -> np.ndarray:
    unknown = set(caps) - set(domains)
    if unknown:
        raise ValueError(f"caps of {', '.join(sorted(unknown))}; the domains are {', '.join(domains)}")
    upper = np.array([float(caps.get(domain, 1.0)) for domain in domains])
    if not np.all((upper >= 0) & (upper <= 1)):
        raise ValueError(f"caps={dict(caps)}; each must lie between 0 and 1")
    if upper.sum() < 1:
        raise ValueError(f"caps={dict(caps)} sum to {upper.sum():.3g}: no mixture is left; raise one")
    return upper


def _starts(upper: np.ndarray) -> np.ndarray:
    """Mixtures within the caps [TRIED, domains]: what is above a cap goes to the others by their room."""
    shares = np.random.default_rng(0).dirichlet(np.ones(len(upper)), TRIED)
    inside = np.minimum(shares, upper)
    room = upper - inside
    left = 1 - inside.sum(axis=1, keepdims=True)
    return inside + room * left / np.maximum(room.sum(axis=1, keepdims=True), 1e-300)


def _lowest(
    forms: tuple[Law, ...], weight: np.ndarray, theta: list[np.ndarray], upper: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Shares [domains] of the lowest weighted loss within the simplex and the caps."""
    with jax.enable_x64(True):
        theta = [np.asarray(each, np.float64) for each in theta]
        if len(starts) > 1:
            value = np.asarray(_objectives(forms, weight, theta, starts))
            starts = starts[np.argsort(value, kind="stable")[:STARTS]]

        def loss(shares: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _loss_and_slope(forms, weight, theta, shares)
            return float(value), np.asarray(slope)

        found = [
            minimize(
                loss,
                start,
                jac=True,
                method="SLSQP",
                bounds=list(zip(np.zeros(len(upper)), upper)),
                constraints=LinearConstraint(np.ones((1, len(upper))), 1.0, 1.0),
                options={"ftol": 1e-10, "maxiter": 200},
            )
            for start in starts
        ]
    best = min(found, key=lambda each: each.fun).x
    best = np.clip(best, 0.0, upper)
    return best / best.sum()


def _objective(forms: tuple[Law, ...], weight, theta, shares):
    """The weighted loss at one mixture [domains], in the order of the first law's columns."""
    x = {column: share[None] for column, share in zip(forms[0].columns, shares)}
    return sum(w * form.value(each, x)[0] for w, form, each in zip(weight, forms, theta))


@partial(jax.jit, static_argnames="forms")
def _loss_and_slope(forms: tuple[Law, ...], weight, theta, shares):
    return jax.value_and_grad(lambda s: _objective(forms, weight, theta, jnp.asarray(s)))(shares)


@partial(jax.jit, static_argnames="forms")
def _objectives(forms: tuple[Law, ...], weight, theta, shares):
    return jax.vmap(lambda s: _objective(forms, weight, theta, s))(shares)
