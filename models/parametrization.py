"""How scales and hyperparameters depend on width and depth: standard, or muP with depth scaling.

Standard: weights start at 1/√fan-in, those of what branches add to the residual stream at 1/√(2L) of that
(GPT-2), and one learning rate serves all. With a `MuP` config the network is the base size's, carried to
other sizes by the rules of CompleteP (Dey et al. 2025), so that hyperparameters tuned at the base size stay
right.
"""

from typing import Any


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


def head_std(config: Any) -> float:
    """Initial standard deviation of the output head (and of a table that is the head, too)."""
    return (config.mup.base_d_model if config.mup else config.d_model) ** -0.5


def logit_scale(config: Any) -> float:
    """Multiplier of the logits: base width / width under muP."""
    return config.mup.base_d_model / config.d_model if config.mup else 1.0
