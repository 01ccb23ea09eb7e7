"""The solver: robust nonlinear least squares, many problems in one program.

A lane is one problem: a start point, weights of the rows, a Huber delta and a prior. All lanes share the
table's columns and run in one vmapped, compiled loop of damped Gauss–Newton steps in float64.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.laws import Columns, Law

LANES = (
    128  # lanes of one call: few enough that stragglers stop little, and always the same so it compiles once
)
MAX_STEPS = 300
EXACT, ROUGH = 1e-12, 1e-7  # stop when the next step promises less than this fraction of the objective


class Lanes(NamedTuple):
    """Problems to solve; the leading axis is the lane, and an axis of length 1 serves all lanes."""

    y: np.ndarray  # [lanes, rows] the target in units of the data, its log if the scale is log
    weight: np.ndarray  # [lanes, rows]
    delta: np.ndarray  # [lanes] where the Huber loss turns from square to linear, on the scale of y
    mean: np.ndarray  # [lanes, params] of the prior
    precision: np.ndarray  # [lanes, params] of the prior, in the units of the summed Huber loss (0: no prior)


class Solution(NamedTuple):
    theta: np.ndarray  # [lanes, params]
    objective: np.ndarray  # [lanes] summed Huber loss + prior
    converged: np.ndarray  # [lanes] bool


def solve(
    law: Law, x: Mapping[str, np.ndarray], lanes: Lanes, start: np.ndarray, tolerance: float = EXACT
) -> Solution:
    """Minimises sum_i w_i huber(y_i - log value(theta, x_i)) + sum_j precision_j (theta_j - mean_j)^2 / 2.

    Huber on log loss, summed, as in Hoffmann et al. 2022, appendix D.3; a law of linear scale takes no log.

    Args:
      x: the law's columns [rows], in units of the data.
      start: [lanes, params].
      tolerance: ROUGH moves no parameter by a visible part of its doubt, and is for draws.
    """
    n = len(start)
    arrays = [np.broadcast_to(array, (n, *np.shape(array)[1:])) for array in (*lanes, start)]
    parts = []
    with jax.enable_x64(True):
        for first in range(0, n, LANES):
            rows = np.minimum(np.arange(first, first + LANES), n - 1)  # the last part is filled up
            parts.append(
                _solve(law, dict(x), np.float64(tolerance), *[np.float64(array[rows]) for array in arrays])
            )
        return Solution(*[np.concatenate([np.asarray(part) for part in field])[:n] for field in zip(*parts)])


def best(solutions: Solution, n_starts: int) -> Solution:
    """The best of every `n_starts` lanes in turn."""
    objective = np.where(np.isfinite(solutions.objective), solutions.objective, np.inf).reshape(-1, n_starts)
    at = np.arange(len(objective)) * n_starts + objective.argmin(axis=1)
    return Solution(*[field[at] for field in solutions])


def told(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """`values` on the scale that errors are taken on."""
    return np.log(values(law, theta, x)) if law.scale == "log" else values(law, theta, x)


def values(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """The law's values [thetas, rows] for parameters [thetas, params] at columns [rows], in float64."""
    with jax.enable_x64(True):
        columns = {name: np.asarray(x[name], np.float64) for name in law.columns}
        return np.asarray(_values(law, np.asarray(theta, np.float64), columns))


@partial(jax.jit, static_argnames="law")
def _values(law: Law, theta, x: Columns):
    return jax.vmap(lambda t: law.value(t, x))(theta)


@partial(jax.jit, static_argnames="law")
def _solve(law: Law, x: Columns, tolerance, y, weight, delta, mean, precision, start):
    return jax.vmap(partial(_solve_lane, law, x, tolerance))(y, weight, delta, mean, precision, start)


class _State(NamedTuple):
    theta: jax.Array
    objective: jax.Array
    damping: jax.Array
    step: jax.Array
    converged: jax.Array


def _solve_lane(law: Law, x: Columns, tolerance, y, weight, delta, mean, precision, start):
    """Levenberg–Marquardt; parameters pressed against their bound are held there."""
    low, high = jnp.array(law.bounds).T

    def fitted(theta):
        value = law.value(theta, x)
        return jnp.log(value) if law.scale == "log" else value

    def objective(theta):
        size = jnp.abs(y - fitted(theta))
        huber = jnp.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
        return jnp.sum(weight * huber) + 0.5 * jnp.sum(precision * (theta - mean) ** 2)

    def derivatives(theta):
        """Gradient, Hessian without the law's own curvature (Gauss–Newton), and a scale a parameter."""
        residual, slopes = y - fitted(theta), jax.jacfwd(fitted)(theta)
        pull = weight * jnp.clip(residual, -delta, delta)
        gradient = -slopes.T @ pull + precision * (theta - mean)
        inside = weight * (jnp.abs(residual) <= delta)
        hessian = (slopes * inside[:, None]).T @ slopes + jnp.diag(precision)
        majorant = weight * jnp.minimum(1.0, delta / jnp.maximum(jnp.abs(residual), 1e-300))
        return gradient, hessian, jnp.sum(slopes**2 * majorant[:, None], axis=0) + precision + 1e-30

    def advance(s: _State) -> _State:
        gradient, hessian, curvature = derivatives(s.theta)
        held = ((s.theta <= low) & (gradient > 0)) | ((s.theta >= high) & (gradient < 0))
        scale = jnp.where(held, 0.0, curvature**-0.5)
        damped = scale[:, None] * hessian * scale + jnp.diag(jnp.where(held, 1.0, s.damping))
        factor = jnp.linalg.cholesky(damped)  # NaN where it is not positive definite: more damping, then
        move = -scale * jax.scipy.linalg.cho_solve((factor, True), scale * gradient)
        theta = jnp.clip(s.theta + jnp.nan_to_num(move), low, high)
        taken = theta - s.theta
        promised = -(gradient @ taken + 0.5 * taken @ hessian @ taken)
        value = objective(theta)
        better = value < s.objective
        quality = (s.objective - value) / jnp.maximum(jnp.abs(promised), 1e-300)
        change = jnp.where(better, jnp.where(quality > 0.75, 0.1, jnp.where(quality < 0.25, 2.0, 1.0)), 4.0)
        done = (s.damping <= 1e-2) & (-0.5 * gradient @ move <= tolerance * s.objective)
        return _State(
            jnp.where(better, theta, s.theta),
            jnp.where(better, value, s.objective),
            jnp.maximum(s.damping * change, 1e-13),
            s.step + 1,
            done | (s.damping > 1e13),  # damped to nothing: no better point within rounding
        )

    first = _State(start, objective(start), jnp.asarray(1e-2), jnp.asarray(0), jnp.asarray(False))
    last = jax.lax.while_loop(lambda s: ~s.converged & (s.step < MAX_STEPS), advance, first)
    return last.theta, last.objective, last.converged
