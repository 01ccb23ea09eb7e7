"""What a law is: the value of one column of a table of runs as a function of other columns.

A law is a few lines of pure JAX: `value(theta, x)` takes the parameters in the order of `params` and a dict
of columns. Adding one is a file of this package and a line in its LAWS; a user's own is a file anywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Columns = Mapping[str, Array]
FREE = (0.0, float("inf"))  # a prior that says nothing
BLOCK = 256  # rows: tables are padded to a multiple of it, so that most are compiled for one length
ROOT_HALF = int(np.sqrt(0.5).view(np.int64))
ARTANH = 1 / np.arange(21, 0, -2)  # of the powers of z^2 in artanh(z) / z, from the highest


@dataclass(frozen=True)
class Law:
    """One functional form.

    Fits are made in units of the data: columns divided by their geometric means, a target on a log scale by
    the smallest value measured. `bounds`, `starts` and `prior` are in those units, so they need no knowledge
    of the table.

    Attributes:
      params: parameter names, in the order of `theta`.
      columns: columns of the table of runs that the law reads.
      value: (theta [n_params], columns) -> the target, same shape as a column.
      unscale: (theta [..., n_params] in units of the data, units) -> theta in the table's own units.
        `units` maps each column, and the target, to its unit.
      bounds: box of theta; a fit that ends on it says so.
      starts: start points of the fit.
      prior: mean and standard deviation of each parameter, used in forecasts only (inf: no prior).
      formula, source: for people; use: the tables it is for, and which law is for their like.
      target: the column that the law predicts.
      scale: errors are of the target's logarithm ("log") or of the target itself ("linear", for what may
        be zero or has a ceiling, such as an accuracy).
      dimensionless: columns that are never rescaled (unit 1) and may be zero or negative: shares,
        bits, ratios.
      same_unit: pairs (column, other): the column is measured in the other's unit, since the law reads
        their ratio.
      relaxed: the form that forecasts are made with, because no law is exactly true; None for the law itself.
      beside: further forms of the same columns that forecasts are mixed with, since runs do not tell which
        form holds far beyond them; known by their names, too (`laws.find`).
      best_size: (theta [thetas, n_params], flops [thetas, budgets]) -> the size of the lowest loss that a
        budget of 6·N·D buys [thetas, budgets], NaN where there is none, in the table's own units. None where
        it has no closed form: the best size is then searched for (scaling/optimum/frontier.py).
      size_exponent: theta [..., n_params] -> a [...] of N* ~ C^a and D* ~ C^(1-a); None as above.
      conventions: (column, what the law takes it to be), said with every fit.
      idle_params: whether the size counts parameters that a token does not meet: its FLOPs are not 6·N.
    """

    name: str
    params: tuple[str, ...]
    columns: tuple[str, ...]
    value: Callable[[Array, Columns], Array]
    unscale: Callable[[np.ndarray, Mapping[str, float]], np.ndarray]
    bounds: tuple[tuple[float, float], ...]
    starts: tuple[tuple[float, ...], ...]
    prior: tuple[tuple[float, float], ...]
    formula: str
    source: str
    use: str = ""
    target: str = "loss"
    scale: Literal["log", "linear"] = "log"
    dimensionless: tuple[str, ...] = ()
    same_unit: tuple[tuple[str, str], ...] = ()
    relaxed: "Law | None" = None
    beside: tuple["Law", ...] = ()
    best_size: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    size_exponent: Callable[[np.ndarray], np.ndarray] | None = None
    conventions: tuple[tuple[str, str], ...] = ()
    idle_params: bool = False

    @property
    def size(self) -> str | None:
        """The column that is the model's size; None for a law that reads none."""
        return next((name for name in ("n_active", "n_params") if name in self.columns), None)

    @property
    def positive(self) -> tuple[str, ...]:
        """Columns, the target among them, of which the law takes logarithms: no other value serves."""
        scaled = tuple(name for name in self.columns if name not in self.dimensionless)
        return (*scaled, self.target) if self.scale == "log" else scaled

    def __post_init__(self):
        """Raises ValueError where the fields do not fit together."""
        for name in ("params", "columns", "bounds", "starts", "prior", "dimensionless", "same_unit"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"law {self.name}: {name}={getattr(self, name)!r}; it must be a tuple")
        entries = {len(self.bounds), len(self.prior), *map(len, self.starts)}
        if not self.starts or entries != {len(self.params)}:
            raise ValueError(
                f"law {self.name}: bounds, prior and each of one or more starts must have one entry for each "
                f"of {', '.join(self.params)}"
            )
        for start in self.starts:
            for param, value, (low, high) in zip(self.params, start, self.bounds):
                if not low < value < high:
                    raise ValueError(
                        f"law {self.name}: a start has {param}={value}; it must lie between {low} and {high}"
                    )
        if self.scale not in ("log", "linear"):
            raise ValueError(f"law {self.name}: scale={self.scale!r}; allowed are 'log' and 'linear'")
        unknown = {*self.dimensionless, *(name for pair in self.same_unit for name in pair)} - {*self.columns}
        if unknown:
            raise ValueError(f"law {self.name}: no column {', '.join(sorted(unknown))} among {self.columns}")


# ---- A law at given parameters, in float64 -----------------------------------------------------------------
#
# Errors of a law are taken on its scale: of the target's logarithm, or of the target itself (`Law.scale`).


def values(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """The law's values [thetas, rows] for parameters [thetas, params] at columns [rows]."""
    with jax.enable_x64(True):
        found = np.asarray(_values(law, np.asarray(theta, np.float64), _padded(law, x)))
    return found[:, : len(x[law.columns[0]])]


def scaled_values(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """`values` on the scale that errors are taken on."""
    return np.log(values(law, theta, x)) if law.scale == "log" else values(law, theta, x)


def linearised(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(`scaled_values` at theta [params]: [rows]; their slopes by the parameters: [rows, params])."""
    rows = len(x[law.columns[0]])
    with jax.enable_x64(True):
        value, slopes = _linearise(law, _padded(law, x), np.asarray(theta, np.float64))
        return np.asarray(value)[:rows], np.asarray(slopes).T[:rows]


def float_columns(law: Law, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns that the law reads, as float64."""
    return {name: np.asarray(x[name], np.float64) for name in law.columns}


def _padded(law: Law, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns with their last row repeated up to a multiple of BLOCK."""
    return {
        name: np.concatenate([column, np.repeat(column[-1:], -len(column) % BLOCK, axis=0)])
        for name, column in float_columns(law, x).items()
    }


# Small programs that run a few hundred times: optimizing them takes longer than it saves.
UNOPTIMIZED = {"xla_backend_optimization_level": 0}


@partial(jax.jit, static_argnames="law", compiler_options=UNOPTIMIZED)
def _values(law: Law, theta, x: Columns):
    return jax.vmap(lambda t: law.value(t, x))(theta)


def linearise(law: Law, x: Columns, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `linearised`, for use inside a compiled function: ([rows], [params, rows])."""
    value, push = jax.linearize(lambda t: law.value(t, x), theta)
    slopes = jax.vmap(push)(jnp.eye(len(theta)))
    return (vectorised_log(value), slopes / value) if law.scale == "log" else (value, slopes)


_linearise = jax.jit(linearise, static_argnames="law", compiler_options=UNOPTIMIZED)


def vectorised_log(value: jax.Array) -> jax.Array:
    """The logarithm of positive float64 numbers, to the last digits; NaN of others.

    XLA on CPU takes logarithms in float64 one by one, which was a third of a solver's step; these are
    vectorised. The division stands last so that XLA computes the result once: what ends cheaply is repeated
    where it is used.
    """
    bits = jax.lax.bitcast_convert_type(value, jnp.int64)
    exponent = (bits - ROOT_HALF) >> 52  # value = 2^exponent m, and m between the roots of 1/2 and 2
    m = jax.lax.bitcast_convert_type(bits - (exponent << 52), jnp.float64)
    m = jnp.where((value > 0) & (value < jnp.inf), m, jnp.nan)
    series = jnp.polyval(ARTANH, ((m - 1) / (m + 1)) ** 2)  # log m = 2 artanh((m - 1) / (m + 1))
    return (exponent * np.log(2) * (m + 1) + 2 * (m - 1) * series) / (m + 1)
