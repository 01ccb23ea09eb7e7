"""Low-rank adaptation (Hu et al. 2021) of any network: W + scale · A B, of which A and B alone are trained.

    adapters = lora.init(key, params, model.axes, "blocks/attention/w_*", rank=8)
    loss = lambda adapters: ...model.apply(lora.merge(params, adapters, alpha / 8), tokens_BT)...

Adapters are added to the weights, and the network itself knows nothing of them: training, export and serving
run the same function. Its price is memory for the adapted matrices and their gradients, one step long; what
stays small is what is kept, adapters and optimizer state.

The library qwix intercepts the products of a flax module as it is called and hangs its factors on that
module. Here networks are functions of plain trees, their layers run in a scan and their products have
gradients written by hand, so there is no module left to intercept; `Axes` say all that it would find out.
"""

import math

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from models.parameters import Axes, Params
from models.partial_training import Tree, leaves, matching


def init(key: jax.Array, params: Params, axes: Tree, *patterns: str, rank: int) -> Tree:
    """A pair {"a": [copies…, inputs…, rank], "b": [copies…, rank, outputs…]} for each matrix chosen by path.

    Patterns are those of `partial_training.split`; vectors that they match are passed over. Every layer and
    expert of a stacked matrix has factors of its own. A is random with variance 1/fan-in and B zero: the
    network starts unchanged.

    Args:
      key: of the random draws.
      params, axes: the network's.
      patterns: paths of the matrices to adapt.
      rank: of the factors.

    Raises:
      ValueError: a pattern that matches nothing, no matrix among what they match, or a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"lora: rank={rank}; it must be at least 1")
    chosen, weights = _matrices(axes, *patterns), leaves(params)
    adapters = {}
    for (path, a), each in zip(chosen.items(), jax.random.split(key, len(chosen))):
        n_copies, shape = len(a.copies), weights[path].shape
        inputs, outputs = shape[: n_copies + len(a.inputs)], shape[n_copies + len(a.inputs) :]
        fan_in = math.prod(inputs[n_copies:])
        adapters[(*path, "a")] = jax.random.normal(each, (*inputs, rank), jnp.float32) * fan_in**-0.5
        adapters[(*path, "b")] = jnp.zeros((*shape[:n_copies], rank, *outputs), jnp.float32)
    return unflatten_dict(adapters)


def adapter_axes(axes: Tree, *patterns: str) -> Tree:
    """The `Axes` of the adapters that `init` makes for these patterns; raises as it does."""
    found = {}
    for path, a in _matrices(axes, *patterns).items():
        found[(*path, "a")] = Axes(a.copies, a.inputs, ("rank",))
        found[(*path, "b")] = Axes(a.copies, ("rank",), a.outputs)
    return unflatten_dict(found)


def merge(params: Params, adapters: Tree, scale: float | jax.Array) -> Params:
    """Parameters with scale · A B added; usually scale = alpha / rank.

    A negative scale takes adapters out again, up to rounding.
    """
    merged, factors = leaves(params), leaves(adapters)
    for *path, name in factors:
        if name == "a":
            a, b, w = factors[(*path, "a")], factors[(*path, "b")], merged[tuple(path)]
            n_copies = a.ndim + b.ndim - 2 - w.ndim
            copies, rank = w.shape[:n_copies], a.shape[-1]
            delta = a.reshape(*copies, -1, rank) @ b.reshape(*copies, rank, -1)
            merged[tuple(path)] = w + scale * delta.reshape(w.shape)
    return unflatten_dict(merged)


def _matrices(axes: Tree, *patterns: str) -> dict[tuple, Axes]:
    found = matching(axes, *patterns)
    chosen = {path: a for path, a in leaves(axes).items() if path in found and a.inputs and a.outputs}
    if not chosen:
        names = ", ".join(sorted("/".join(map(str, path)) for path in found))
        raise ValueError(
            f"lora: {', '.join(map(repr, patterns))} matches vectors alone: {names}; adapters need a matrix"
        )
    return chosen
