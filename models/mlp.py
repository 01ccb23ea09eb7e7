"""Feed-forward layers."""

import jax
from flax import nnx

from models.config import TransformerConfig
from models.layers import Keys, matmul, weight


class SwiGLU(nnx.Module):
    """W_down(silu(W_gate x) · W_up x) (Shazeer 2020)."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        d, f = config.d_model, config.d_ff
        self.w_gate = weight(keys, (d, f), d**-0.5)
        self.w_up = weight(keys, (d, f), d**-0.5)
        self.w_down = weight(keys, (f, d), (f * 2 * config.n_layers) ** -0.5)

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        gate, up, down = (w[...].astype(x_BTD.dtype) for w in (self.w_gate, self.w_up, self.w_down))
        return matmul(jax.nn.silu(matmul(x_BTD, gate)) * matmul(x_BTD, up), down)
