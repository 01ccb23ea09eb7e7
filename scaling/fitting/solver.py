"""The solver: robust nonlinear least squares, many problems in one program.

A lane is one problem: a start point, weights of the rows, a Huber delta and a prior. Lanes share the table's
columns and take damped Gauss–Newton steps in float64, as many at a time as stay in the cache; a lane that is
done takes the next problem of the queue, and every core has a queue of its own.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.laws import Columns, Law

BLOCK = 2**12  # rows of all lanes together, so that a step stays in the fastest cache of a core
QUEUE = 2**19  # rows of all problems that one program is given, 4 MB
MOST_LANES, MOST_QUEUED = 256, 2048
MAX_STEPS = 300
ROOT_HALF = int(np.sqrt(0.5).view(np.int64))
ARTANH = 1 / np.arange(21, 0, -2)  # of the powers of z^2 in artanh(z) / z, from the highest
EXACT, ROUGH = 1e-14, 1e-7  # stop when the next step promises less than this fraction of the objective


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
    n, n_rows, n_cores = len(start), np.shape(lanes.y)[1], os.cpu_count() or 1
    n_lanes = min(max(BLOCK // n_rows, 1), MOST_LANES)
    n_queued = min(max(QUEUE // n_rows, n_lanes), MOST_QUEUED)
    n_shares = min(n_cores, -(-n // n_lanes)) * -(-n // (n_cores * n_queued))
    # Every row of weights apart, so that starts and resamples share a program.
    lanes = lanes._replace(weight=np.broadcast_to(lanes.weight, (n, n_rows)))

    def work(share: np.ndarray) -> Solution:
        def queued(array: np.ndarray) -> np.ndarray:
            return np.resize(np.asarray(array, np.float64)[share], (n_queued, *array.shape[1:]))

        queue = Lanes(*[field if len(field) == 1 else queued(field) for field in lanes])
        with jax.enable_x64(True):
            found = _solve(law, _columns(law, x), tolerance, queue, queued(start), len(share), n_lanes)
            return Solution(*[np.asarray(field)[: len(share)] for field in found])

    with ThreadPoolExecutor(n_cores) as pool:
        solved = pool.map(work, np.array_split(np.arange(n), n_shares))
        return Solution(*[np.concatenate(field) for field in zip(*solved)])


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
        return np.asarray(_values(law, np.asarray(theta, np.float64), _columns(law, x)))


def linear(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`told` at theta [params], and its slopes by the parameters [rows, params]."""
    with jax.enable_x64(True):
        fitted, slopes = _linear(law, _columns(law, x), np.asarray(theta, np.float64))
        return np.asarray(fitted), np.asarray(slopes).T


def _columns(law: Law, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(x[name], np.float64) for name in law.columns}


@partial(jax.jit, static_argnames="law")
def _values(law: Law, theta, x: Columns):
    return jax.vmap(lambda t: law.value(t, x))(theta)


class _State(NamedTuple):
    """Of one lane between steps; the derivatives are those at theta."""

    trial: jax.Array  # where to look next
    promised: jax.Array  # how much lower the objective should be there
    theta: jax.Array
    objective: jax.Array
    gradient: jax.Array
    hessian: jax.Array
    damping: jax.Array
    step: jax.Array
    converged: jax.Array
    stopped: jax.Array


def _fresh(start) -> _State:
    """A lane that knows nothing yet but where to look first."""
    none, unknown, no = jnp.zeros_like(start), jnp.asarray(jnp.inf), jnp.asarray(False)
    first, nothing = jnp.asarray(1e-2), jnp.outer(none, none)
    return _State(start, jnp.asarray(0.0), start, unknown, none, nothing, first, jnp.asarray(0), no, no)


def _choose(condition: jax.Array, this: _State, other: _State) -> _State:
    return jax.tree.map(partial(jnp.where, condition), this, other)


@partial(jax.jit, static_argnames=("law", "n_lanes"), compiler_options={"xla_cpu_prefer_vector_width": 512})
def _solve(law: Law, x: Columns, tolerance, queue: Lanes, start, n, n_lanes: int):
    """The fields of `Solution` of the first n problems of a queue of any length, `n_lanes` at a time."""

    def go_on(carry):
        return carry[0] < n

    def step(at, state: _State) -> _State:
        lane = Lanes(*[field[0 if len(field) == 1 else at] for field in queue])
        return _step(law, x, tolerance, lane, state)

    def advance(carry):
        n_found, n_begun, at, state, found = carry
        free, ended = state.stopped, (state.theta, state.objective, state.converged)
        place = jnp.where(free, at, len(start))  # beyond the end: lanes that are not done, or that rest
        found = jax.tree.map(lambda all_, mine: all_.at[place].set(mine, mode="drop"), found, ended)
        n_found += jnp.sum(free & (at < n))
        at = jnp.where(free, n_begun + jnp.cumsum(free) - 1, at)
        n_begun += jnp.sum(free)
        state = jax.vmap(_choose)(free, jax.vmap(_fresh)(start[at]), state)
        return n_found, n_begun, at, jax.vmap(step)(at, state), found

    # At first all lanes are done with a problem that is none.
    at = jnp.full(n_lanes, len(start))
    state = jax.vmap(_fresh)(start[:n_lanes])._replace(stopped=jnp.full(n_lanes, True))
    found = jnp.zeros_like(start), jnp.zeros(len(start)), jnp.zeros(len(start), bool)
    return jax.lax.while_loop(go_on, advance, (0, 0, at, state, found))[-1]


def _step(law: Law, x: Columns, tolerance, lane: Lanes, s: _State) -> _State:
    """Levenberg–Marquardt; parameters pressed against their bound are held there."""
    low, high = jnp.array(law.bounds).T
    there = _evaluate(law, x, lane, s.trial, s.damping)
    better = there[0] < s.objective
    quality = (s.objective - there[0]) / jnp.maximum(jnp.abs(s.promised), 1e-300)
    change = jnp.where(better, jnp.where(quality > 0.75, 0.1, jnp.where(quality < 0.25, 2.0, 1.0)), 4.0)
    damping = jnp.maximum(s.damping * change, 1e-13)
    objective, gradient, hessian, theta = (
        jnp.where(better, new, old)
        for new, old in zip((*there, s.trial), (s.objective, s.gradient, s.hessian, s.theta))
    )
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    scale = jnp.where(held, 0.0, jax.lax.rsqrt(jnp.diagonal(hessian) + 1e-30))
    damped = scale[:, None] * hessian * scale + jnp.diag(jnp.where(held, 1.0, damping))
    factor = jnp.linalg.cholesky(damped)  # NaN where rounding made it indefinite: more damping, then
    move = -scale * jax.scipy.linalg.cho_solve((factor, True), scale * gradient)
    trial = jnp.clip(theta + jnp.nan_to_num(move), low, high)
    taken = trial - theta
    promised = -(gradient @ taken + 0.5 * taken @ hessian @ taken)
    done = (damping <= 1e-2) & (-0.5 * gradient @ move <= tolerance * objective)
    done |= damping > 1e13  # damped to nothing: no better point within rounding
    done &= jnp.isfinite(objective) & jnp.isfinite(promised)
    stopped = done | (s.step + 1 >= MAX_STEPS)
    new = _State(trial, promised, theta, objective, gradient, hessian, damping, s.step + 1, done, stopped)
    return _choose(s.stopped, s, new)


def _evaluate(law: Law, x: Columns, lane: Lanes, theta, damping):
    """(objective, gradient, Hessian), the Hessian without the law's own curvature (Gauss–Newton).

    A row beyond delta pulls with constant force and has no curvature, so that far from the optimum little is
    left to scale steps with. Such rows get a part of the curvature of the parabola that touches the loss at
    their residual (all of it is reweighted least squares: safe and slow), and less of it the better the steps
    have been: close to the optimum the steps are Newton's.
    """
    fitted, slopes = _linear(law, x, theta)
    residual, off = lane.y - fitted, theta - lane.mean
    size, bounded = jnp.abs(residual), jnp.clip(residual, -lane.delta, lane.delta)
    pull = lane.weight * bounded
    touching = jnp.minimum(jnp.sqrt(damping), 1.0) * lane.delta / size
    curvature = lane.weight * jnp.where(size <= lane.delta, 1.0, touching)
    return (
        pull @ (residual - 0.5 * bounded) + 0.5 * jnp.sum(lane.precision * off**2),
        lane.precision * off - slopes @ pull,
        # As one product of matrices this small XLA takes up to a third longer.
        jnp.stack([slopes @ (curvature * slope) for slope in slopes]) + jnp.diag(lane.precision),
    )


@partial(jax.jit, static_argnames="law")
def _linear(law: Law, x: Columns, theta) -> tuple[jax.Array, jax.Array]:
    """What the law tells [rows] on the scale of errors, and its slopes [params, rows]."""
    value, push = jax.linearize(lambda t: law.value(t, x), theta)
    slopes = jax.vmap(push)(jnp.eye(len(theta)))
    return (_log(value), slopes / value) if law.scale == "log" else (value, slopes)


def _log(value: jax.Array) -> jax.Array:
    """The logarithm of positive numbers, to the last digits; NaN of others.

    XLA on CPU takes logarithms in float64 one by one, which was a third of a step; these are vectorised. The
    division stands last so that XLA computes the result once: what ends cheaply is repeated where it is used.
    """
    bits = jax.lax.bitcast_convert_type(value, jnp.int64)
    exponent = (bits - ROOT_HALF) >> 52  # value = 2^exponent m, and m between the roots of 1/2 and 2
    m = jax.lax.bitcast_convert_type(bits - (exponent << 52), jnp.float64)
    m = jnp.where((value > 0) & (value < jnp.inf), m, jnp.nan)
    series = jnp.polyval(ARTANH, ((m - 1) / (m + 1)) ** 2)  # log m = 2 artanh((m - 1) / (m + 1))
    return (exponent * np.log(2) * (m + 1) + 2 * (m - 1) * series) / (m + 1)
