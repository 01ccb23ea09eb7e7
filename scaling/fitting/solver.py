"""Nonlinear least squares by damped Gauss-Newton steps: robust, and generalised under a prior.

`solve` takes many robust problems in one compiled function, `levenberg_marquardt` one whose errors are
correlated.

A robust problem is a start point, weights of the rows, a Huber delta and a prior. Problems share the table's
columns and take damped Gauss–Newton steps in float64, as many at a time (a batch) as stay in the cache; where
one has ended, its place in the batch goes to the next of the queue, and every core has a queue of its own.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from scaling.laws import Columns, Law
from scaling.laws.law import float_columns, linearise, linearised

ROWS = 64  # tables are padded to a multiple of it by rows without weight, so that few lengths are compiled
BATCH_ROWS = 2**12  # rows of a batch, so that a step stays in the fastest cache of a core
QUEUE_ROWS = 2**19  # rows of all problems of a queue, 4 MB
MAX_BATCH, MAX_QUEUED = 256, 2048  # problems
MAX_STEPS = 300
STEPS, TRIES = 60, 8  # of `levenberg_marquardt`; of each of its steps, more damped each time
EXACT, ROUGH = 1e-14, 1e-7  # stop when the next step promises less than this fraction of the objective


class Problems(NamedTuple):
    """Problems to solve; the leading axis is the problem's, and an axis of length 1 serves all of them."""

    y: np.ndarray  # [problems, rows] the target in units of the data, its log if the scale is log
    weight: np.ndarray  # [problems, rows]
    delta: np.ndarray  # [problems] where the Huber loss turns from square to linear, on the scale of y
    mean: np.ndarray  # [problems, params] of the prior
    precision: (
        np.ndarray
    )  # [problems, params] of the prior, in the units of the summed Huber loss (0: no prior)


class Solution(NamedTuple):
    theta: np.ndarray  # [problems, params]
    objective: np.ndarray  # [problems] summed Huber loss + prior
    converged: np.ndarray  # [problems] bool


def solve(
    law: Law, x: Mapping[str, np.ndarray], problems: Problems, start: np.ndarray, tolerance: float = EXACT
) -> Solution:
    """Minimises sum_i w_i huber(y_i - log value(theta, x_i)) + sum_j precision_j (theta_j - mean_j)^2 / 2.

    Huber on log loss, summed, as in Hoffmann et al. 2022, appendix D.3; a law of linear scale takes no log.

    Args:
      x: the law's columns [rows], in units of the data.
      start: [problems, params].
      tolerance: ROUGH moves no parameter by a visible part of its uncertainty, and is for draws.
    """
    n, spare, n_cores = len(start), -np.shape(problems.y)[1] % ROWS, os.cpu_count() or 1
    n_rows = np.shape(problems.y)[1] + spare
    x = {  # the last row again
        name: np.pad(column, [(0, spare), *[(0, 0)] * (column.ndim - 1)], mode="edge")
        for name, column in float_columns(law, x).items()
    }
    batch_size = min(max(BATCH_ROWS // n_rows, 1), MAX_BATCH)
    n_queued = min(max(QUEUE_ROWS // n_rows, batch_size), MAX_QUEUED)
    n_shares = min(n_cores, -(-n // batch_size)) * -(-n // (n_cores * n_queued))
    # Every row of weights apart, so that starts and resamples share a program.
    problems = problems._replace(
        y=np.pad(problems.y, [(0, 0), (0, spare)], mode="edge"),
        weight=np.broadcast_to(np.pad(problems.weight, [(0, 0), (0, spare)]), (n, n_rows)),
    )

    def work(share: np.ndarray) -> Solution:
        def queued(array: np.ndarray) -> np.ndarray:
            return np.resize(np.asarray(array, np.float64)[share], (n_queued, *array.shape[1:]))

        queue = Problems(*[field if len(field) == 1 else queued(field) for field in problems])
        with jax.enable_x64(True):
            found = _solve(law, x, tolerance, queue, queued(start), len(share), batch_size)
            return Solution(*[np.asarray(field)[: len(share)] for field in found])

    with ThreadPoolExecutor(n_cores) as pool:
        solved = pool.map(work, np.array_split(np.arange(n), n_shares))
        return Solution(*[np.concatenate(field) for field in zip(*solved)])


def best_of_starts(solutions: Solution, n_starts: int) -> Solution:
    """The best of every `n_starts` problems in turn."""
    objective = np.where(np.isfinite(solutions.objective), solutions.objective, np.inf).reshape(-1, n_starts)
    at = np.arange(len(objective)) * n_starts + objective.argmin(axis=1)
    return Solution(*[field[at] for field in solutions])


class _State(NamedTuple):
    """Of one problem between steps; the derivatives are those at theta."""

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
    """A problem of which nothing is known yet but where to look first."""
    none, unknown, no = jnp.zeros_like(start), jnp.asarray(jnp.inf), jnp.asarray(False)
    first, nothing = jnp.asarray(1e-2), jnp.outer(none, none)
    return _State(start, jnp.asarray(0.0), start, unknown, none, nothing, first, jnp.asarray(0), no, no)


def _choose(condition: jax.Array, this: _State, other: _State) -> _State:
    return jax.tree.map(partial(jnp.where, condition), this, other)


@partial(
    jax.jit, static_argnames=("law", "batch_size"), compiler_options={"xla_cpu_prefer_vector_width": 512}
)
def _solve(law: Law, x: Columns, tolerance, queue: Problems, start, n, batch_size: int):
    """The fields of `Solution` of the first n problems of a queue of any length, `batch_size` at a time."""

    def go_on(carry):
        return carry[0] < n

    def step(at, state: _State) -> _State:
        problem = Problems(*[field[0 if len(field) == 1 else at] for field in queue])
        return _step(law, x, tolerance, problem, state)

    def advance(carry):
        n_found, n_begun, at, state, found = carry
        free, ended = state.stopped, (state.theta, state.objective, state.converged)
        place = jnp.where(free, at, len(start))  # beyond the end: places not done, or empty
        found = jax.tree.map(lambda all_, mine: all_.at[place].set(mine, mode="drop"), found, ended)
        n_found += jnp.sum(free & (at < n))
        at = jnp.where(free, n_begun + jnp.cumsum(free) - 1, at)
        n_begun += jnp.sum(free)
        state = jax.vmap(_choose)(free, jax.vmap(_fresh)(start[at]), state)
        return n_found, n_begun, at, jax.vmap(step)(at, state), found

    # At first every place of the batch is done with a problem that is none.
    at = jnp.full(batch_size, len(start))
    state = jax.vmap(_fresh)(start[:batch_size])._replace(stopped=jnp.full(batch_size, True))
    found = jnp.zeros_like(start), jnp.zeros(len(start)), jnp.zeros(len(start), bool)
    return jax.lax.while_loop(go_on, advance, (0, 0, at, state, found))[-1]


def _step(law: Law, x: Columns, tolerance, problem: Problems, s: _State) -> _State:
    """Levenberg–Marquardt: judges the trial point, and chooses the next one."""
    low, high = jnp.array(law.bounds).T
    there = _evaluate(law, x, problem, s.trial, s.damping)
    better = there[0] < s.objective
    quality = (s.objective - there[0]) / jnp.maximum(jnp.abs(s.promised), 1e-300)
    change = jnp.where(better, jnp.where(quality > 0.75, 0.1, jnp.where(quality < 0.25, 2.0, 1.0)), 4.0)
    damping = jnp.maximum(s.damping * change, 1e-13)
    objective, gradient, hessian, theta = (
        jnp.where(better, new, old)
        for new, old in zip((*there, s.trial), (s.objective, s.gradient, s.hessian, s.theta))
    )
    trial, move = damped_step(theta, gradient, hessian, damping, low, high)
    taken = trial - theta
    promised = -(gradient @ taken + 0.5 * taken @ hessian @ taken)
    done = (damping <= 1e-2) & (-0.5 * gradient @ move <= tolerance * objective)
    done |= damping > 1e13  # damped to nothing: no better point within rounding
    done &= jnp.isfinite(objective) & jnp.isfinite(promised)
    stopped = done | (s.step + 1 >= MAX_STEPS)
    new = _State(trial, promised, theta, objective, gradient, hessian, damping, s.step + 1, done, stopped)
    return _choose(s.stopped, s, new)


def damped_step(theta, gradient, hessian, damping, low, high, xp=jnp) -> tuple[Any, Any]:
    """(where a Levenberg–Marquardt step from theta ends inside the bounds, the step before it is cut off).

    Damping is relative to the Hessian's diagonal; parameters pressed against their bound are held there.

    Args:
      theta, gradient, low, high: [params]; hessian: [params, params]; damping: scalar.
      xp: numpy, for a step that is not worth a program; by default inside of one.
    """
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    scale = xp.where(held, 0.0, 1 / xp.sqrt(xp.diagonal(hessian) + 1e-30))
    damped = scale[:, None] * hessian * scale + xp.diag(xp.where(held, 1.0, damping))
    if xp is np:
        solved = np.linalg.solve(damped, scale * gradient)
    else:
        factor = jnp.linalg.cholesky(damped)  # NaN where rounding made it indefinite: more damping, then
        solved = jax.scipy.linalg.cho_solve((factor, True), scale * gradient)
    move = -scale * solved
    return xp.clip(theta + xp.nan_to_num(move), low, high), move


def _evaluate(law: Law, x: Columns, problem: Problems, theta, damping):
    """(objective, gradient, Hessian), the Hessian without the law's own curvature (Gauss–Newton).

    A row beyond delta pulls with constant force and has no curvature, so that far from the optimum little is
    left to scale steps with. Such rows get a part of the curvature of the parabola that touches the loss at
    their residual (all of it is reweighted least squares: safe and slow), and less of it the better the steps
    have been: close to the optimum the steps are Newton's.
    """
    fitted, slopes = linearise(law, x, theta)
    residual, off = problem.y - fitted, theta - problem.mean
    size, bounded = jnp.abs(residual), jnp.clip(residual, -problem.delta, problem.delta)
    pull = problem.weight * bounded
    touching = jnp.minimum(jnp.sqrt(damping), 1.0) * problem.delta / size
    curvature = problem.weight * jnp.where(size <= problem.delta, 1.0, touching)
    return (
        pull @ (residual - 0.5 * bounded) + 0.5 * jnp.sum(problem.precision * off**2),
        problem.precision * off - slopes @ pull,
        # As one product of matrices this small XLA takes up to a third longer.
        jnp.stack([slopes @ (curvature * slope) for slope in slopes]) + jnp.diag(problem.precision),
    )


class Prior(NamedTuple):
    """Gaussian prior of a law's parameters: mean and precision [params]; precision 0 says nothing."""

    mean: np.ndarray
    precision: np.ndarray

    @staticmethod
    def of(law: Law) -> "Prior":
        mean, sd = np.array(law.prior).T
        return Prior(np.where(np.isfinite(sd), mean, 0.0), np.where(np.isfinite(sd), sd**-2.0, 0.0))


def levenberg_marquardt(
    law: Law,
    x: Mapping[str, np.ndarray],
    y: np.ndarray,
    covariance: np.ndarray,
    start: np.ndarray,
    prior: Prior,
) -> tuple[np.ndarray, float]:
    """(theta, cost) of the least cost inside the law's bounds, from one start.

    cost = e' covariance^-1 e + sum_j precision_j (theta_j - mean_j)^2, e = y - the law's scaled values.

    Args:
      x: the law's columns [rows] and y: the target on the scale of its errors [rows], in units of the data.
      covariance: of the errors [rows, rows].
      start: [params].
    """
    low, high = np.array(law.bounds).T
    root = np.linalg.cholesky(covariance)

    def whiten(rows: np.ndarray) -> np.ndarray:
        return linalg.solve_triangular(root, rows, lower=True, check_finite=False)

    def look(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(cost, errors, slopes), the errors white; not numbers, and so no better, outside the law's domain.

        The values alone would be quicker computed, but they are a program more to compile.
        """
        value, slopes = linearised(law, theta, x)
        left = whiten(y - value)
        return float(left @ left + prior.precision @ (theta - prior.mean) ** 2), left, slopes

    theta, damping = np.clip(start, low, high), 1e-2
    now, left, slopes = look(theta)
    for _ in range(STEPS):
        slopes = whiten(slopes)
        gradient = prior.precision * (theta - prior.mean) - slopes.T @ left
        hessian = slopes.T @ slopes + np.diag(prior.precision)
        before = now
        for _ in range(TRIES):
            tried, _ = damped_step(theta, gradient, hessian, damping, low, high, np)
            reached, *there = look(tried)
            if reached < now:
                theta, now, damping = tried, reached, max(damping / 5, 1e-9)
                left, slopes = there
                break
            damping *= 5
        if before - now <= 1e-7 * now + 1e-9:
            break
    return theta, now
