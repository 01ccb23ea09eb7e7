"""How scales and hyperparameters depend on width and depth: standard, or muP with depth scaling.

Standard: weights start at 1/√fan-in, those of what branches add to the residual stream at 1/√(2L) of that
(GPT-2), and one learning rate serves all. With a `MuP` config the network is the base size's, carried to
other sizes by the rules of CompleteP (table 1 of Dey et al. 2025, α = 1), so that hyperparameters tuned at
the base size stay right. With m_N = width / base width and m_L = depth / base depth:

                          initial std   forward      lr       weight decay   ε of Adam
    lookup                1             1            1        1              1/m_N
    hidden matrix         m_N^-1/2      1            1/m_N    m_N            1/(m_N·m_L)
    output head           1             1/m_N        1        1              1/m_N
    vector                1             1            1        -              1/(m_N·m_L)
    residual branch                     1/m_L
    attention scores                    1/d_head

The router of a mixture of experts is an output head, its experts are hidden matrices (Małaśnicki et al.
2025). Other matrices to a few numbers (a gate, the way into a low-rank map) are heads whose multiplier is
folded into the weight: std 1/m_N, lr 1/m_N; the way out of a low-rank map is a lookup in all but name. The
width of a feed-forward layer, or of an expert, is taken to grow as the model's, n_heads · d_head as well; the
vocabulary, positions, experts and ranks not. Muon takes the columns of initial stds and forward multipliers,
and the others for what it leaves to AdamW: its own update of a hidden matrix has a spectral norm of
√(fan-out / fan-in) at every width, which is what feature learning asks for (Yang, Simon & Bernstein 2023).
"""

import math
from dataclasses import dataclass
from typing import Any

import jax

from models.parameters import Axes

WIDTHS = {"embed", "heads", "kv_heads", "head", "mlp"}


@dataclass(frozen=True)
class Multipliers:
    """What a run's hyperparameters are multiplied by for each parameter: trees of floats like params."""

    lr: Any
    eps: Any
    weight_decay: Any


def multipliers(config: Any, axes: Any, muon: bool = False) -> Multipliers:
    """The multipliers of AdamW, or any optimizer whose updates have entries near 1, for parameters with these
    `axes` (a tree of `parameters.Axes`); with `muon` hidden matrices are updated by it.

    All are 1 without muP, which some families do not have. Decay multiplies the learning rate, so its own
    multiplier undoes that of the rate.
    """
    if not getattr(config, "mup", None):
        return Multipliers(*3 * (jax.tree.map(lambda _: 1.0, axes),))
    deeper = config.n_layers / config.mup.base_n_layers

    def lr(a: Axes) -> float:
        if muon and is_hidden(a):
            return 1.0
        return 1.0 if is_head(a) else 1 / growth(config, a.inputs)

    def eps(a: Axes) -> float:
        """As gradients shrink: those of the stream as 1/m_N, within a branch as 1/m_L besides."""
        shrunk = logit_scale(config) if is_head(a) else 1 / growth(config, a.outputs)
        return shrunk / deeper if "layers" in a.copies else shrunk

    return Multipliers(
        lr=jax.tree.map(lr, axes),
        eps=jax.tree.map(eps, axes),
        weight_decay=jax.tree.map(lambda a: 1 / lr(a), axes),
    )


def is_hidden(a: Axes) -> bool:
    """Whether a parameter is a matrix from one of the network's widths to another."""
    return bool(a.inputs and a.outputs) and WIDTHS.issuperset(a.inputs + a.outputs)


def is_head(a: Axes) -> bool:
    """Whether `logit_scale` follows a matrix: an output head, a router."""
    return bool(a.inputs) and a.outputs in (("vocab",), ("experts",))


def growth(config: Any, names: tuple[str, ...]) -> float:
    """How much larger the product of these axes is than at the base size."""
    wider = config.d_model / config.mup.base_d_model
    larger_heads = getattr(config, "d_head", config.mup.base_d_head) / config.mup.base_d_head
    more_heads = wider / larger_heads
    ratios = {"embed": wider, "mlp": wider, "heads": more_heads, "kv_heads": more_heads, "head": larger_heads}
    return math.prod(ratios.get(name, 1.0) for name in names)


def attention_scale(config: Any) -> float:
    """Multiplier of attention scores: 1/√d_head; under muP it falls as 1/d_head from the base's."""
    if config.attention_scale:
        return config.attention_scale
    if config.mup:
        return config.mup.base_d_head**0.5 / config.d_head
    return config.d_head**-0.5


def branch_std(config: Any, fan_in: int) -> float:
    """Initial standard deviation of the matrix whose product a branch adds to the residual stream."""
    n_layers = config.mup.base_n_layers if config.mup else config.n_layers
    return (fan_in * 2 * n_layers) ** -0.5


def branch_scale(config: Any) -> float:
    """Multiplier of what a branch adds to the residual stream: base depth / depth under muP."""
    return config.mup.base_n_layers / config.n_layers if config.mup else 1.0


def narrow_std(config: Any) -> float:
    """Initial standard deviation of a matrix from the width to a few numbers that no multiplier follows."""
    return config.d_model**-0.5 * logit_scale(config) ** 0.5


def head_std(config: Any) -> float:
    """Initial standard deviation of an output head (and of a table that is the head, too) or a router."""
    return (config.mup.base_d_model if config.mup else config.d_model) ** -0.5


def logit_scale(config: Any) -> float:
    """Multiplier of the logits, a router's as well: base width / width under muP."""
    return config.mup.base_d_model / config.d_model if config.mup else 1.0
