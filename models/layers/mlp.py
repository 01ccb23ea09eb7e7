"""Feed-forward layers."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.layers import Activation
from models.layers.linear import project
from models.model import Aux
from models.parameters import Keys, constant, weight
from models.sharding import constrain

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
}


def gated(activation: str, gate: Any, up: Any) -> jax.Array:
    """activation(gate) · up; "clamped_swiglu" bounds both by 7 and adds one to the second (gpt-oss)."""
    if activation != "clamped_swiglu":
        return ACTIVATIONS[activation](gate) * up
    gate = jnp.minimum(gate, 7.0)
    return gate * jax.nn.sigmoid(1.702 * gate) * (jnp.clip(up, -7.0, 7.0) + 1)


class MLP(nnx.Module):
    """W_down(activation(W_up x)), or W_down(activation(W_gate x) · W_up x) (Shazeer 2020)."""

    def __init__(
        self,
        keys: Keys,
        d_model: int,
        d_ff: int,
        *,
        output_std: float,
        gated: bool = True,
        bias: bool = False,
        activation: Activation = "silu",
    ):
        """Weights that start at 1/√fan-in, but for those of the output, and biases at zero."""
        d, f = d_model, d_ff
        self.w_gate = weight(keys, (d, f), d**-0.5, "embed -> mlp") if gated else None
        self.w_up = weight(keys, (d, f), d**-0.5, "embed -> mlp")
        self.w_down = weight(keys, (f, d), output_std, "mlp -> embed")
        self.b_up = constant(0.0, (f,), "-> mlp") if bias else None
        self.b_down = constant(0.0, (d,), "-> embed") if bias else None
        self.b_gate = constant(0.0, (f,), "-> mlp") if bias and gated else None
        self.activation = activation

    def __call__(self, x_BTD: jax.Array, exact: bool = False) -> tuple[jax.Array, Aux]:
        """Output [B,T,D] and no auxiliary losses; `exact` matters to layers that may drop tokens."""
        up_BTF = project(x_BTD, self.w_up, self.b_up)
        if self.w_gate is None:
            hidden_BTF = ACTIVATIONS[self.activation](up_BTF)
        else:
            # What lies between is computed again for the gradient, which takes less than to keep and read it.
            recomputed = jax.checkpoint(gated, static_argnums=0)
            hidden_BTF = recomputed(self.activation, project(x_BTD, self.w_gate, self.b_gate), up_BTF)
        hidden_BTF = constrain(hidden_BTF, "batch", "length", "mlp")
        return project(hidden_BTF, self.w_down, self.b_down), {}
