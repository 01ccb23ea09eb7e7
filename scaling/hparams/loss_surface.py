"""Loss surfaces of sweeps: log loss against the logs of learning rate and batch, all cells fitted at once.

A cell is one (n_params, n_tokens) with several settings tried. Near its optimum

    log loss = height + sharpness * q(z - centre),

z the logs of the setting and q the valley of `scaling.hparams.bowl`, which all cells share: without its
skew the
optimum is biased towards the flat side. Each cell has its height, centre and sharpness, and the latter two
follow from its design row x: centre = x @ law + deviation, log sharpness = x @ trend + deviation, the
deviations being normal (a hierarchical model). A law of one constant and wide deviations leaves every cell to
itself; a law in log N and log D with narrow ones is a joint fit of all runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scaling.hparams.bowl import basis, tensors, terms, with_bottom

# Rows whose log loss is further above the best of the cell are left out, but so many of the best are kept;
# of more than MOST_ROWS every second, third, … is.
FAR, MIN_ROWS, MOST_ROWS = 0.1, 5, 300
MISFIT = 0.1  # a row is off by the noise and by so much of its excess over the optimum: no valley is cubic
TAIL = 4.0  # degrees of freedom of the noise, Student's t: loss spikes weigh little
LEAST_NOISE, MOST_NOISE = 2e-4, 5e-2
ROUNDS, MAX_STEP, SETTLED = 80, 0.5, 1e-4  # of the Gauss-Newton iteration, in log units

# Weak priors; all are guesses. Noise and scatter: a value, and how many observations it counts for.
NOISE = (3e-3, 1.0)  # of log loss
SCATTER = (0.07, 2.0)  # of centres about the law
CURVATURE = (0.05, 0.1)  # mean and standard deviation of the diagonal of K; off the diagonal the mean is 0
SKEW = 1.0  # standard deviation of T in units of K: curvature may change by its own size per log unit
SHARPNESS, TREND = 0.5, 0.3  # standard deviations of log sharpness about its trend, and of the trend


@dataclass(frozen=True, eq=False)
class Surfaces:
    """Fitted surfaces of c cells over a axes, with design rows of t terms; n draws of the posterior.

    Attributes:
      centre [c, a], height [c], log_sharpness [c]: of each cell; height is log loss.
      curvature [a, a], skew [a, a, a]: of the valley, at sharpness 1.
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


class Prior(NamedTuple):
    """Mean and standard deviation of the law [t, a]; the scatter, None where it is to be estimated."""

    mean: np.ndarray
    sd: np.ndarray
    scatter: float | None = None


class _Rows(NamedTuple):
    """Cells padded to equal length [c, r]; `there` is 0 in the padding."""

    z: np.ndarray
    y: np.ndarray
    there: np.ndarray
    lowest: np.ndarray


class _State(NamedTuple):
    centre: np.ndarray
    sharp: np.ndarray
    shape: np.ndarray
    law: np.ndarray
    trend: np.ndarray
    scatter: np.ndarray
    noise: float
    spare: float  # degrees of freedom behind the noise
    residual: np.ndarray  # in units of its standard deviation
    excess: np.ndarray  # of fitted log loss over the optimum


class _Solved(NamedTuple):
    """One step's linear problem: s shared coefficients (shape, move of the law, move of the trend), and each
    cell's own (height, move of the centre, move of log sharpness)."""

    own: np.ndarray
    shared: np.ndarray
    within: np.ndarray  # covariance of `own` where `shared` is known [c, a + 2, a + 2]
    follows: np.ndarray  # `own` falls by so much where `shared` rises [c, a + 2, s]
    covariance: np.ndarray  # of `shared` [s, s]
    known: np.ndarray  # how much of each of `shared` the runs tell, 1 all and 0 nothing but the prior [s]
    fitted: np.ndarray  # [c, r]
    leverage: np.ndarray  # [c, r]


def fit_surfaces(
    cells: Sequence[tuple[np.ndarray, np.ndarray]],
    design: np.ndarray,
    prior: Prior,
    n_draws: int,
    rng: np.random.Generator,
) -> Surfaces:
    """The maximum of the posterior, and draws of its normal approximation there.

    Args:
      cells: (log settings [k, a], log loss [k]) of each; rows may be scattered and may repeat.
      design: [c, t], the first column ones.
    """
    rows = _stack(cells)
    n_cells, _, axes = rows.z.shape
    state = _State(
        centre=rows.z[:, :3].mean(axis=1),  # rows are sorted by loss
        sharp=np.zeros(n_cells),
        shape=_expected_shape(axes),
        law=prior.mean,
        trend=np.zeros(design.shape[1] - 1),
        scatter=np.full(axes, SCATTER[0] if prior.scatter is None else prior.scatter),
        noise=NOISE[0],
        spare=NOISE[1],
        residual=np.zeros_like(rows.y),
        excess=rows.y,
    )
    for _ in range(ROUNDS):
        solved = _solve(state, rows, design, prior)
        before, state = state, _advance(state, solved, rows, design, prior)
        moved = max(np.abs(a - b).max() for a, b in zip(state[:2], before[:2]))
        if moved < SETTLED:
            break
    curvature, skew = tensors(state.shape, axes)
    return Surfaces(
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


def _solve(state: _State, rows: _Rows, design: np.ndarray, prior: Prior) -> _Solved:
    """Gauss-Newton: the cells' own coefficients are eliminated (Schur complement), the shared ones solved."""
    weight = rows.there * _weight(state) / _sd(state) ** 2
    own, shared = _columns(rows.z, state, design)
    own_w, shared_w = (np.swapaxes(columns * weight[..., None], 1, 2) for columns in (own, shared))
    # Moves are drawn back to the law and the trend, those to their means.
    back = np.column_stack(
        [
            np.zeros(len(design)),
            design @ state.law - state.centre,
            design[:, 1:] @ state.trend - state.sharp,
        ]
    )
    firm = np.concatenate([[0.0], 1 / state.scatter**2, [1 / SHARPNESS**2]])
    aim = np.concatenate(
        [_expected_shape(prior.mean.shape[1]), (prior.mean - state.law).ravel(), -state.trend]
    )
    aim_sd = np.concatenate([_shape_sd(state), prior.sd.ravel(), np.full(len(state.trend), TREND)])
    within = np.linalg.inv(own_w @ own + np.diag(firm))
    across = own_w @ shared
    follows = within @ across
    alone = within @ (own_w @ rows.y[..., None] + (firm * back)[..., None])
    information = shared_w @ shared - np.swapaxes(across, 1, 2) @ follows
    score = shared_w @ rows.y[..., None] - np.swapaxes(across, 1, 2) @ alone
    covariance = np.linalg.inv(np.diag(1 / aim_sd**2) + information.sum(axis=0))
    solution = covariance @ (aim / aim_sd**2 + score.sum(axis=0)[:, 0])
    coefficients = alone[..., 0] - follows @ solution
    rest = shared - own @ follows
    return _Solved(
        own=coefficients,
        shared=solution,
        within=within,
        follows=follows,
        covariance=covariance,
        known=1 - np.diag(covariance) / aim_sd**2,
        fitted=(own @ coefficients[..., None])[..., 0] + shared @ solution,
        leverage=weight * (np.sum(own @ within * own, -1) + np.sum(rest @ covariance * rest, -1)),
    )


def _advance(state: _State, solved: _Solved, rows: _Rows, design: np.ndarray, prior: Prior) -> _State:
    """The state that a solution leads to, its noise and scatter included."""
    axes = state.centre.shape[1]
    shape, law_move, trend_move = _parts(solved.shared, state)
    sd = _sd(state)
    residual = (rows.y - solved.fitted) / sd
    # The noise by the score of its likelihood, the leverage of each row taken off.
    told = rows.there * (state.noise / sd) ** 2
    spare = NOISE[1] + np.sum(told * np.maximum(1 - solved.leverage, 0))
    seen = NOISE[1] * (NOISE[0] / state.noise) ** 2 + np.sum(told * _weight(state) * residual**2)
    scatter = state.scatter
    if prior.scatter is None:  # one step of expectation maximisation
        doubt = solved.within + solved.follows @ solved.covariance @ np.swapaxes(solved.follows, 1, 2)
        away = state.centre + solved.own[:, 1:-1] - design @ state.law
        squares = away**2 + np.diagonal(doubt, axis1=1, axis2=2)[:, 1:-1]
        total = SCATTER[1] * SCATTER[0] ** 2 + squares.sum(axis=0)
        scatter = np.sqrt(total / (SCATTER[1] + len(design)))
    centre_move = solved.own[:, 1:-1] + design @ law_move
    sharp_move = solved.own[:, -1] + design[:, 1:] @ trend_move
    return _State(
        centre=state.centre + np.clip(centre_move, -MAX_STEP, MAX_STEP),
        sharp=np.clip(state.sharp + np.clip(sharp_move, -MAX_STEP, MAX_STEP), -5, 5),
        shape=with_bottom(shape, axes),
        law=state.law + law_move,
        trend=state.trend + trend_move,
        scatter=scatter,
        noise=float(np.clip(state.noise * np.sqrt(seen / spare), LEAST_NOISE, MOST_NOISE)),
        spare=float(spare),
        residual=residual,
        excess=np.maximum(solved.fitted - solved.own[:, :1], 0),
    )


def _draw(
    state: _State, solved: _Solved, design: np.ndarray, estimated: bool, n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Normal around the maximum; what the runs tell is as doubtful as the scale of noise and scatter is."""
    n_cells, axes = state.centre.shape
    # Under Student's t the information of a row is (TAIL + 1) / (TAIL + 3) of its weight.
    by_noise = np.sqrt((TAIL + 3) / (TAIL + 1) * state.spare / rng.chisquare(state.spare, (n, 1)))
    known = SCATTER[1] + n_cells
    by_scatter = np.sqrt(known / rng.chisquare(known, (n, 1))) if estimated else np.ones((n, 1))
    of_shape = np.arange(len(solved.shared)) < len(state.shape)
    size = np.where(of_shape, by_noise, np.maximum(by_noise, by_scatter)) ** solved.known
    moves = size * (rng.standard_normal(size.shape) @ np.linalg.cholesky(solved.covariance).T)
    shape_moves, law_moves, _ = _parts(moves, state)
    free = rng.standard_normal((n_cells, n, axes + 2)) @ np.swapaxes(np.linalg.cholesky(solved.within), 1, 2)
    own_moves = np.swapaxes(by_noise * free - moves @ np.swapaxes(solved.follows, 1, 2), 0, 1)
    return {
        "centres": state.centre + own_moves[..., 1:-1] + design @ law_moves,
        "laws": state.law + law_moves,
        "curvatures": tensors(with_bottom(state.shape + shape_moves, axes), axes)[0],
        "scatters": state.scatter * by_scatter,
    }


def _stack(cells: Sequence[tuple[np.ndarray, np.ndarray]]) -> _Rows:
    """Each cell's rows near its best, by loss, relative to the best; padded to one array."""
    kept = []
    for z, y in cells:
        by_loss = np.argsort(y, kind="stable")
        near = by_loss[: max(MIN_ROWS, int(np.sum(y <= y.min() + FAR)))]
        near = near[:: -(-len(near) // MOST_ROWS)]
        kept.append((z[near], y[near] - y.min()))
    longest = max(len(y) for _, y in kept)
    return _Rows(
        z=np.stack([np.pad(z, ((0, longest - len(z)), (0, 0)), mode="edge") for z, _ in kept]),
        y=np.stack([np.pad(y, (0, longest - len(y)), mode="edge") for _, y in kept]),
        there=np.stack([np.arange(longest) < len(y) for _, y in kept]).astype(float),
        lowest=np.array([y.min() for _, y in cells]),
    )


def _columns(z: np.ndarray, state: _State, design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of log loss by a cell's own coefficients [c, r, a + 2] and by the shared ones [c, r, s]."""
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
