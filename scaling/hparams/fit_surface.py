"""Loss surfaces of sweeps: log loss against the logs of learning rate and batch, all sizes fitted at once.

A sweep is one (n_params, n_tokens) with several settings tried. Near its optimum

    log loss = height + sharpness * q(z - centre),

z the logs of the setting and q the cubic form of `scaling.hparams.loss_surface`, which all sweeps share:
without its skew the optimum is biased towards the flat side. Each sweep has its height, centre and sharpness,
and the latter two follow from its design row x: centre = x @ law + deviation, log sharpness = x @ trend +
deviation, the deviations being normal (a hierarchical model). A law of one constant and wide deviations fits
every sweep on its own; a law in log N and log D with narrow ones is a joint fit of all runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scaling.hparams.loss_surface import basis, tensors, terms, with_minimum

# Rows whose log loss is further above the best of their sweep are left out, but so many of the best are kept;
# of more than MOST_ROWS every second, third, … is.
FAR, MIN_ROWS, MOST_ROWS = 0.1, 5, 300
MISFIT = 0.1  # a row is off by the noise and by so much of its excess over the optimum: no surface is cubic
TAIL = 4.0  # degrees of freedom of the noise, Student's t: loss spikes weigh little
LEAST_NOISE, MOST_NOISE = 2e-4, 5e-2
ROUNDS, MAX_STEP, TOLERANCE = 80, 0.5, 1e-4  # of the Gauss-Newton iteration, in log units

# Weak priors; all are guesses. Noise and scatter: a value, and how many observations it counts for.
NOISE = (3e-3, 1.0)  # of log loss
SCATTER = (0.07, 2.0)  # of centres about the law
CURVATURE = (0.05, 0.1)  # mean and standard deviation of the diagonal of K; off the diagonal the mean is 0
SKEW = 1.0  # standard deviation of T in units of K: curvature may change by its own size per log unit
SHARPNESS, TREND = 0.5, 0.3  # standard deviations of log sharpness about its trend, and of the trend


@dataclass(frozen=True, eq=False)
class FittedSurfaces:
    """Fitted surfaces of c sweeps over a axes, with design rows of t terms; n draws of the posterior.

    Attributes:
      centre [c, a], height [c], log_sharpness [c]: of each sweep; height is log loss.
      curvature [a, a], skew [a, a, a]: of the shared form, at sharpness 1.
      law [t, a], trend [t - 1]: of the centres, and of log sharpness (which has no constant).
      scatter [a]: standard deviation of the centres about the law; noise: scale of the noise of log loss.
      centres [n, c, a], laws [n, t, a], curvatures [n, a, a], scatters [n, a]: the draws.
    """

    centre: np.ndarray
    height: np.ndarray
    log_sharpness: np.ndarray
    curvature: np.ndarray
    skew: np.ndarray
    law: np.ndarray
    trend: np.ndarray
    scatter: np.ndarray
    noise: float
    centres: np.ndarray
    laws: np.ndarray
    curvatures: np.ndarray
    scatters: np.ndarray


class LawPrior(NamedTuple):
    """Mean and standard deviation of the law [t, a]; the scatter of centres about it, None to estimate it."""

    mean: np.ndarray
    sd: np.ndarray
    scatter: float | None = None


class _Rows(NamedTuple):
    """Sweeps padded to equal length [c, r]; `mask` is 0 in the padding."""

    z: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    lowest: np.ndarray


class _State(NamedTuple):
    """Where the iteration stands; of the sweeps, the shared form, the law, and the noise."""

    centre: np.ndarray
    sharp: np.ndarray
    shape: np.ndarray
    law: np.ndarray
    trend: np.ndarray
    scatter: np.ndarray
    noise: float
    freedom: float  # degrees of freedom of the noise
    residual: np.ndarray  # in units of its standard deviation
    excess: np.ndarray  # of fitted log loss over the optimum


class _Solved(NamedTuple):
    """The solution of one step's linear problem: s shared coefficients (shape, change of the law, change of
    the trend), and each sweep's own (height, change of the centre, change of log sharpness)."""

    own: np.ndarray
    shared: np.ndarray
    within: np.ndarray  # covariance of `own` where `shared` is known [c, a + 2, a + 2]
    response: np.ndarray  # `own` falls by so much where `shared` rises [c, a + 2, s]
    covariance: np.ndarray  # of `shared` [s, s]
    informed: np.ndarray  # of `shared`: 1 where the data decide, 0 where the prior does [s]
    fitted: np.ndarray  # [c, r]
    leverage: np.ndarray  # [c, r]


def fit_surfaces(
    sweeps: Sequence[tuple[np.ndarray, np.ndarray]],
    design: np.ndarray,
    prior: LawPrior,
    n_draws: int,
    rng: np.random.Generator,
) -> FittedSurfaces:
    """The maximum of the posterior, and draws of its normal approximation there.

    Args:
      sweeps: (log settings [k, a], log loss [k]) of each; rows may be scattered and may repeat.
      design: [c, t], the first column ones.
      prior: of the law and of the scatter about it.
      n_draws: of the posterior; rng: what they are drawn with.
    """
    rows = _stack(sweeps)
    n_sweeps, _, axes = rows.z.shape
    state = _State(
        centre=rows.z[:, :3].mean(axis=1),  # rows are sorted by loss
        sharp=np.zeros(n_sweeps),
        shape=_expected_shape(axes),
        law=prior.mean,
        trend=np.zeros(design.shape[1] - 1),
        scatter=np.full(axes, SCATTER[0] if prior.scatter is None else prior.scatter),
        noise=NOISE[0],
        freedom=NOISE[1],
        residual=np.zeros_like(rows.y),
        excess=rows.y,
    )
    for _ in range(ROUNDS):
        solved = _solve(state, rows, design, prior)
        before, state = state, _advance(state, solved, rows, design, prior)
        moved = max(np.abs(a - b).max() for a, b in zip(state[:2], before[:2]))
        if moved < TOLERANCE:
            break
    curvature, skew = tensors(state.shape, axes)
    return FittedSurfaces(
        centre=state.centre,
        height=rows.lowest + solved.own[:, 0],
        log_sharpness=state.sharp,
        curvature=curvature,
        skew=skew,
        law=state.law,
        trend=state.trend,
        scatter=state.scatter,
        noise=state.noise,
        **_draw(state, solved, design, prior.scatter is None, n_draws, rng),
    )


def _solve(state: _State, rows: _Rows, design: np.ndarray, prior: LawPrior) -> _Solved:
    """Gauss-Newton: each sweep's coefficients are eliminated (Schur complement), the shared ones solved."""
    weight = rows.mask * _weight(state) / _sd(state) ** 2
    own, shared = _columns(rows.z, state, design)
    own_w, shared_w = (np.swapaxes(columns * weight[..., None], 1, 2) for columns in (own, shared))
    # The priors of a step: centre and sharpness are at the law and the trend, those at their means.
    own_aim = np.column_stack(
        [
            np.zeros(len(design)),
            design @ state.law - state.centre,
            design[:, 1:] @ state.trend - state.sharp,
        ]
    )
    own_precision = np.concatenate([[0.0], 1 / state.scatter**2, [1 / SHARPNESS**2]])
    shared_aim = np.concatenate(
        [_expected_shape(prior.mean.shape[1]), (prior.mean - state.law).ravel(), -state.trend]
    )
    shared_sd = np.concatenate([_shape_sd(state), prior.sd.ravel(), np.full(len(state.trend), TREND)])
    within = np.linalg.inv(own_w @ own + np.diag(own_precision))
    across = own_w @ shared
    response = within @ across
    alone = within @ (own_w @ rows.y[..., None] + (own_precision * own_aim)[..., None])
    information = shared_w @ shared - np.swapaxes(across, 1, 2) @ response
    score = shared_w @ rows.y[..., None] - np.swapaxes(across, 1, 2) @ alone
    covariance = np.linalg.inv(np.diag(1 / shared_sd**2) + information.sum(axis=0))
    solution = covariance @ (shared_aim / shared_sd**2 + score.sum(axis=0)[:, 0])
    coefficients = alone[..., 0] - response @ solution
    rest = shared - own @ response
    return _Solved(
        own=coefficients,
        shared=solution,
        within=within,
        response=response,
        covariance=covariance,
        informed=1 - np.diag(covariance) / shared_sd**2,
        fitted=(own @ coefficients[..., None])[..., 0] + shared @ solution,
        leverage=weight * (np.sum(own @ within * own, -1) + np.sum(rest @ covariance * rest, -1)),
    )


def _advance(state: _State, solved: _Solved, rows: _Rows, design: np.ndarray, prior: LawPrior) -> _State:
    """The state that a solution leads to, its noise and scatter included."""
    axes = state.centre.shape[1]
    shape, law_change, trend_change = _parts(solved.shared, state)
    sd = _sd(state)
    residual = (rows.y - solved.fitted) / sd
    # The noise by the score of its likelihood, the leverage of each row taken off.
    by_noise = rows.mask * (state.noise / sd) ** 2  # share of a row's variance that is noise
    freedom = NOISE[1] + np.sum(by_noise * np.maximum(1 - solved.leverage, 0))
    seen = NOISE[1] * (NOISE[0] / state.noise) ** 2 + np.sum(by_noise * _weight(state) * residual**2)
    scatter = state.scatter
    if prior.scatter is None:  # one step of expectation maximisation
        covariance = solved.within + solved.response @ solved.covariance @ np.swapaxes(solved.response, 1, 2)
        away = state.centre + solved.own[:, 1:-1] - design @ state.law
        squares = away**2 + np.diagonal(covariance, axis1=1, axis2=2)[:, 1:-1]
        total = SCATTER[1] * SCATTER[0] ** 2 + squares.sum(axis=0)
        scatter = np.sqrt(total / (SCATTER[1] + len(design)))
    centre_change = solved.own[:, 1:-1] + design @ law_change
    sharp_change = solved.own[:, -1] + design[:, 1:] @ trend_change
    return _State(
        centre=state.centre + np.clip(centre_change, -MAX_STEP, MAX_STEP),
        sharp=np.clip(state.sharp + np.clip(sharp_change, -MAX_STEP, MAX_STEP), -5, 5),
        shape=with_minimum(shape, axes),
        law=state.law + law_change,
        trend=state.trend + trend_change,
        scatter=scatter,
        noise=float(np.clip(state.noise * np.sqrt(seen / freedom), LEAST_NOISE, MOST_NOISE)),
        freedom=float(freedom),
        residual=residual,
        excess=np.maximum(solved.fitted - solved.own[:, :1], 0),
    )


def _draw(
    state: _State, solved: _Solved, design: np.ndarray, estimated: bool, n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Normal around the maximum, widened by the uncertainty of the scales of noise and scatter."""
    n_sweeps, axes = state.centre.shape
    # Under Student's t the information of a row is (TAIL + 1) / (TAIL + 3) of its weight.
    by_noise = np.sqrt((TAIL + 3) / (TAIL + 1) * state.freedom / rng.chisquare(state.freedom, (n, 1)))
    freedom = SCATTER[1] + n_sweeps
    by_scatter = np.sqrt(freedom / rng.chisquare(freedom, (n, 1))) if estimated else np.ones((n, 1))
    of_shape = np.arange(len(solved.shared)) < len(state.shape)
    size = np.where(of_shape, by_noise, np.maximum(by_noise, by_scatter)) ** solved.informed
    changes = size * (rng.standard_normal(size.shape) @ np.linalg.cholesky(solved.covariance).T)
    shape_changes, law_changes, _ = _parts(changes, state)
    free = rng.standard_normal((n_sweeps, n, axes + 2)) @ np.swapaxes(np.linalg.cholesky(solved.within), 1, 2)
    own_changes = np.swapaxes(by_noise * free - changes @ np.swapaxes(solved.response, 1, 2), 0, 1)
    return {
        "centres": state.centre + own_changes[..., 1:-1] + design @ law_changes,
        "laws": state.law + law_changes,
        "curvatures": tensors(with_minimum(state.shape + shape_changes, axes), axes)[0],
        "scatters": state.scatter * by_scatter,
    }


def _stack(sweeps: Sequence[tuple[np.ndarray, np.ndarray]]) -> _Rows:
    """Each sweep's rows near its best, by loss, relative to the best; padded to one array."""
    kept = []
    for z, y in sweeps:
        by_loss = np.argsort(y, kind="stable")
        near = by_loss[: max(MIN_ROWS, int(np.sum(y <= y.min() + FAR)))]
        near = near[:: -(-len(near) // MOST_ROWS)]
        kept.append((z[near], y[near] - y.min()))
    longest = max(len(y) for _, y in kept)
    return _Rows(
        z=np.stack([np.pad(z, ((0, longest - len(z)), (0, 0)), mode="edge") for z, _ in kept]),
        y=np.stack([np.pad(y, (0, longest - len(y)), mode="edge") for _, y in kept]),
        mask=np.stack([np.arange(longest) < len(y) for _, y in kept]).astype(float),
        lowest=np.array([y.min() for _, y in sweeps]),
    )


def _columns(z: np.ndarray, state: _State, design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of log loss by each sweep's coefficients [c, r, a + 2] and by the shared ones [c, r, s]."""
    d = z - state.centre[:, None]
    sharpness = np.exp(state.sharp)[:, None, None]
    by_shape = sharpness * basis(d)
    above = (by_shape @ state.shape)[..., None]
    curvature, skew = tensors(state.shape, d.shape[-1])
    by_centre = -sharpness * (d @ curvature + np.einsum("ijk,crj,crk->cri", skew, d, d) / 2)
    x = design[:, None, :]
    by_law = (x[..., None] * by_centre[..., None, :]).reshape(*d.shape[:2], -1)
    own = np.concatenate([np.ones_like(above), by_centre, above], axis=-1)
    return own, np.concatenate([by_shape, by_law, x[..., 1:] * above], axis=-1)


def _parts(shared: np.ndarray, state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(shape, law [..., t, a], trend) out of the shared coefficients [..., s]."""
    n_shape, n_law = len(state.shape), state.law.size
    law = shared[..., n_shape : n_shape + n_law].reshape(*shared.shape[:-1], *state.law.shape)
    return shared[..., :n_shape], law, shared[..., n_shape + n_law :]


def _sd(state: _State) -> np.ndarray:
    return np.hypot(state.noise, MISFIT * state.excess)


def _weight(state: _State) -> np.ndarray:
    """Of the rows in Student's t."""
    return (TAIL + 1) / (TAIL + state.residual**2)


def _expected_shape(axes: int) -> np.ndarray:
    return np.array([CURVATURE[0] if len(t) == 2 and t[0] == t[1] else 0.0 for t in terms(axes)])


def _shape_sd(state: _State) -> np.ndarray:
    """Of the shape's prior: absolute for the curvature, in units of the present one for the skew."""
    axes = state.centre.shape[1]
    root = np.sqrt(np.diagonal(tensors(state.shape, axes)[0]))
    return np.array(
        [CURVATURE[1] if len(t) == 2 else SKEW * root[list(t)].prod() ** (2 / 3) for t in terms(axes)]
    )
