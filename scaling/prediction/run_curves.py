"""Curves of runs in units of their runs: how far the loss is above its end, by the fraction of the run made.

Runs of one good recipe have nearly one such curve, whatever their size and length (Qiu et al. 2025, "Scaling
collapse reveals universal dynamics in compute-optimally trained neural networks", arXiv 2507.02119). They
subtract an irreducible loss before they divide; here it is log(loss / final loss), and what is left of size
and length, which is smooth in them, is a Gaussian process (Rasmussen and Williams 2006, "Gaussian processes
for machine learning", sections 2.7 and 5.4): between the runs it follows them, and far from all it returns to
their common curve, in growing doubt.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

FRACTIONS = np.geomspace(0.05, 1, 18)  # of a run, at which curves are compared; before, warm-ups differ
SIGNALS = (0.3, 1.0, 2.0, 4.0, 8.0)  # of the process, in standard deviations of the curves' own noise
LENGTHS = (1.0, 2.0, 4.0)  # over which it changes, in the logarithms of size and tokens
FEWEST = 6  # curves that say what another is like
MOST = 32  # curves; of more the largest runs are the ones to go by


@dataclass(frozen=True)
class RunCurve:
    """What a run measured on its way, finished or not.

    Attributes:
      n_params, n_tokens: of the whole run.
      final: validation loss at its end, nats per token; NaN of a run that has not ended.
      loss, grad_norm: logarithms at FRACTIONS, NaN where the run has not come to, or did not measure.
    """

    run_id: str
    n_params: float
    n_tokens: float
    final: float
    loss: np.ndarray
    grad_norm: np.ndarray

    @property
    def place(self) -> np.ndarray:
        """Logarithms of size and tokens [2]."""
        return np.log([self.n_params, self.n_tokens])


@dataclass(frozen=True)
class Expected:
    """Of a curve that others foretell: mean and standard deviation at FRACTIONS, and degrees of freedom."""

    mean: np.ndarray
    spread: np.ndarray
    dof: int


def curve_of(
    events: Sequence[Mapping[str, Any]], run_id: str, n_params: float, n_tokens: float, final: float
) -> RunCurve:
    """The curve of a run's lines in metrics.jsonl.

    A line's training loss is the mean since the line before, and stands at the middle of its steps; the norm
    of the gradient is of its step alone.

    Args:
      events: the lines, in order; those without a training loss are passed over.
      run_id: of the run.
      n_params: its size.
      n_tokens: of the whole run, however far it has come.
      final: see `RunCurve`.
    """
    lines = [line for line in events if isinstance(line.get("train_loss"), int | float) and "tokens" in line]
    end = np.array([line["tokens"] for line in lines]) / n_tokens
    middle = (end + np.concatenate([[0.0], end[:-1]])) / 2 if len(end) else end
    loss = np.array([line["train_loss"] for line in lines], float)
    norm = np.array([line.get("grad_norm") or np.nan for line in lines], float)
    reached = end[-1] if len(end) else 0.0
    at_middles, at_ends = _at_fractions(middle, loss, reached), _at_fractions(end, norm, reached)
    return RunCurve(run_id, n_params, n_tokens, final, at_middles, at_ends)


def _at_fractions(place: np.ndarray, value: np.ndarray, reached: float) -> np.ndarray:
    """Logarithms of the values at FRACTIONS, as far as the run has `reached`."""
    known = np.isfinite(value) & (value > 0) & (place > 0)
    if not known.any():
        return np.full(len(FRACTIONS), np.nan)
    found = np.interp(np.log(FRACTIONS), np.log(place[known]), np.log(value[known]))
    return np.where(reached * 1.001 >= FRACTIONS, found, np.nan)


def above_final(curves: Sequence[RunCurve]) -> np.ndarray:
    """log(loss / final loss) of finished runs [curves, FRACTIONS]."""
    return np.array([curve.loss - np.log(curve.final) for curve in curves])


def foretold(places: np.ndarray, values: np.ndarray, at: np.ndarray) -> Expected:
    """What curves at other sizes and lengths say of one at `at`.

    At each fraction signal and length of the process are the most probable ones.

    Args:
      places: [curves, 2], see `RunCurve.place`.
      values: [curves, FRACTIONS] without NaN.
      at: [2].
    """
    n, one = len(places), np.ones(len(places))
    apart, near = ((places[:, None] - places) ** 2).sum(-1), ((places - at) ** 2).sum(-1)
    means, spreads, evidence = [], [], []
    for signal, length in itertools.product(SIGNALS, LENGTHS):
        inverse = np.linalg.inv(signal**2 * np.exp(-apart / 2 / length**2) + np.eye(n))
        link = signal**2 * np.exp(-near / 2 / length**2)
        weight = one @ inverse @ one
        common = one @ inverse @ values / weight
        left = values - common
        noise2 = np.maximum(np.einsum("nk,nm,mk->k", left, inverse, left) / (n - 1), 1e-12)
        doubt = 1 + signal**2 - link @ inverse @ link + (1 - link @ inverse @ one) ** 2 / weight
        means.append(common + link @ inverse @ left)
        spreads.append(np.sqrt(noise2 * doubt * (n - 1) / (n - 3)))
        determinant = -np.linalg.slogdet(inverse)[1]
        evidence.append(-0.5 * ((n - 1) * np.log(noise2) + determinant + np.log(weight)))
    best = np.argmax(evidence, axis=0), np.arange(values.shape[1])
    return Expected(np.array(means)[best], np.array(spreads)[best], n - 3)


def off_by(curves: Sequence[RunCurve], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each curve is from what the others foretell, as it is and in standard deviations.

    Both are [curves, FRACTIONS], as `values` is, and equal to what `foretold` says without the curve: with P
    the precision of the curves about their common mean, curve i is off by (P y)_i / P_ii, with a variance of
    1 / P_ii (Rasmussen and Williams 2006, eq. 5.12).
    """
    places, n = np.array([curve.place for curve in curves]), len(curves)
    apart = ((places[:, None] - places) ** 2).sum(-1)
    off, spread, evidence = [], [], []
    for signal, length in itertools.product(SIGNALS, LENGTHS):
        inverse = np.linalg.inv(signal**2 * np.exp(-apart / 2 / length**2) + np.eye(n))
        ones = inverse.sum(axis=0)
        precision = inverse - np.outer(ones, ones) / ones.sum()
        own, left = np.diag(precision)[:, None], precision @ values
        misfit = (values * left).sum(axis=0) - left**2 / own
        noise2 = np.maximum(misfit / (n - 2), 1e-12)
        off.append(left / own)
        spread.append(np.sqrt(noise2 / own * (n - 2) / (n - 4)))
        determinant = np.log(ones.sum()) - np.linalg.slogdet(inverse)[1] + np.log(own)
        evidence.append(-0.5 * ((n - 2) * np.log(noise2) + determinant))
    best = np.argmax(evidence, axis=0)[None]
    off, spread = (np.take_along_axis(np.array(each), best, axis=0)[0] for each in (off, spread))
    return off, off / spread


def limit(dof: int, looks: int, chance: float = 0.05) -> float:
    """Standard deviations beyond which one of so many `looks` at normal numbers comes by `chance`."""
    return float(-stdtrit(dof, (1 - (1 - chance) ** (1 / looks)) / 2))
