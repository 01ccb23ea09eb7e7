"""Log loss around the best hyperparameters, one or two: d.K.d / 2 + T.d.d.d / 6, d the log distance.

K is the curvature (the Hessian) and T the skew (third derivatives), by which one side is steeper than the
other. A `shape` lists their entries, one for each term of `terms`.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations

import numpy as np

LEAST_CURVATURE = 1e-3  # of log loss per squared log unit; flatter surfaces have no usable minimum


@dataclass(frozen=True, eq=False)
class LossSurface:
    """The loss around the optimum of one size, in the logs of the swept settings (a axes).

    Attributes:
      axes: their names; centre [a]: log settings of the optimum; log_loss: there.
      curvature [a, a], skew [a, a, a]: of log loss.
    """

    axes: tuple[str, ...]
    centre: np.ndarray
    curvature: np.ndarray
    skew: np.ndarray
    log_loss: float

    def loss(self, **settings) -> np.ndarray:
        """Nats per token at settings named as the axes, arrays of one shape.

        It holds where it is within some 5 % of the optimum's loss: no surface is cubic far from there.
        """
        d = np.stack([np.log(settings[axis]) for axis in self.axes], axis=-1) - self.centre
        return np.exp(self.log_loss + above_minimum(d, self.curvature, self.skew))


def above_minimum(d: np.ndarray, curvature: np.ndarray, skew: np.ndarray) -> np.ndarray:
    """Log loss over the optimum's at log distances d [..., a] from it."""
    quadratic = np.einsum("...i,ij,...j->...", d, curvature, d) / 2
    return quadratic + np.einsum("...i,...j,...k,ijk->...", d, d, d, skew) / 6


def terms(axes: int) -> list[tuple[int, ...]]:
    """The axes of each second- and third-order term: (0, 0), (0, 1), … (0, 0, 0), …"""
    return [term for order in (2, 3) for term in combinations_with_replacement(range(axes), order)]


def basis(d: np.ndarray) -> np.ndarray:
    """Monomials [..., terms] of log distances [..., a]: what each entry of a shape is multiplied by."""
    columns = []
    for term in terms(d.shape[-1]):
        ways = len(set(permutations(term))) / (2 if len(term) == 2 else 6)
        columns.append(ways * d[..., list(term)].prod(-1))
    return np.stack(columns, axis=-1)


def tensors(shape: np.ndarray, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Curvature K [..., a, a] and skew T [..., a, a, a] of shapes [..., terms]."""
    curvature, skew = (np.zeros((*shape.shape[:-1], *(axes,) * order)) for order in (2, 3))
    for i, term in enumerate(terms(axes)):
        for index in permutations(term):
            (curvature if len(term) == 2 else skew)[(..., *index)] = shape[..., i]
    return curvature, skew


def with_minimum(shape: np.ndarray, axes: int) -> np.ndarray:
    """The nearest shapes [..., terms] whose curvature is positive definite."""
    values, vectors = np.linalg.eigh(tensors(shape, axes)[0])
    values = np.maximum(values, LEAST_CURVATURE)
    upward = (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    entries = [
        upward[(..., *term)] if len(term) == 2 else shape[..., i] for i, term in enumerate(terms(axes))
    ]
    return np.stack(entries, axis=-1)
