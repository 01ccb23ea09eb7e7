"""The layer: router, experts, and what they compute on one device or left to the partitioner."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.layers import Activation, Experts
from models.layers.linear import project
from models.layers.mlp import MLP, gated
from models.layers.moe import spread
from models.layers.moe.routing import choose, router_aux
from models.layers.moe.slots import collect, owners, places, send, sources, weights_of
from models.model import Aux
from models.parameters import Keys, constant, weight
from models.sharding import constrain, gathered

BLOCK = 128  # slots of a block without drops: copying a block's weights costs about half its products
FEW = 256  # up to so many tokens, room for all of them in every expert is cheaper than sorting into blocks


class MoE(nnx.Module):
    """Σ over a token's `top_k` experts of probability · SwiGLU(x), and a SwiGLU shared by all tokens.

    Capacity (Lepikhin et al. 2020): in every row of a batch each expert has room for C = ⌈capacity_factor ·
    top_k · T / n_experts⌉ choices, served in the order of the tokens; a choice that comes when the room is
    taken is dropped and adds nothing to its token. Serving all first choices before any second one, as
    GShard does, would let a token displace the second choice of one before it, which a causal model must
    not: its outputs would depend on the future.

    Dropless: all choices are computed. Prefill and decoding never drop, whatever the training does.
    """

    def __init__(
        self,
        keys: Keys,
        d_model: int,
        experts: Experts,
        *,
        router_std: float,
        router_scale: float,
        gate_std: float,
        output_std: Callable[[int], float],
        activation: Activation = "silu",
    ):
        """Weights of router, experts and the shared expert.

        Args:
          router_std, gate_std: initial standard deviations of the router and of the shared expert's gate.
          router_scale: multiplies what the router reads.
          output_std: that of the matrices back to the model's width, by their fan-in.
        """
        n, d, f = experts.n_experts, d_model, experts.d_expert
        self.router = weight(keys, (d, n), router_std, "embed -> experts")
        self.w_gate = weight(keys, (n, d, f), d**-0.5, "experts: embed -> mlp")
        self.w_up = weight(keys, (n, d, f), d**-0.5, "experts: embed -> mlp")
        self.w_down = weight(keys, (n, f, d), output_std(f), "experts: mlp -> embed")
        self.b_router = constant(0.0, (n,), "-> experts") if experts.biases else None
        self.b_gate = constant(0.0, (n, f), "experts: -> mlp") if experts.biases else None
        self.b_up = constant(0.0, (n, f), "experts: -> mlp") if experts.biases else None
        self.b_down = constant(0.0, (n, d), "experts: -> embed") if experts.biases else None
        self.choice_bias = constant(0.0, (n,), "-> experts") if experts.choice_bias else None
        # The shared expert is gated and without biases like the others.
        f = experts.d_shared
        self.shared = MLP(keys, d, f, output_std=output_std(f), activation=activation) if f else None
        has_gate = f and experts.shared_gate
        self.shared_gate = weight(keys, (d, 1), gate_std, "embed -> gate") if has_gate else None
        self.experts, self.activation, self.router_scale = experts, activation, router_scale

    def __call__(self, x_BTD: jax.Array, exact: bool = False) -> tuple[jax.Array, Aux]:
        """Output [B,T,D] and the router's losses and measurements; `exact` drops nothing."""
        logits_BTE, choice_BTK, weight_BTK = self.route(x_BTD)
        weight_BTK = weight_BTK.astype(x_BTD.dtype)
        if exact or self.experts.dispatch == "dropless":
            out_BTD, drop_rate = self.dropless(x_BTD, choice_BTK, weight_BTK), jnp.float32(0)
        else:
            out_BTD, drop_rate = self.with_capacity(x_BTD, choice_BTK, weight_BTK)
        if self.shared is not None:
            shared_BTD, _ = self.shared(x_BTD)
            if self.shared_gate is not None:
                shared_BTD = shared_BTD * jax.nn.sigmoid(project(x_BTD, self.shared_gate))
            out_BTD = out_BTD + shared_BTD
        return out_BTD, router_aux(self.experts, logits_BTE, choice_BTK) | {"drop_rate": drop_rate}

    def route(self, x_BTD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The router's logits [B,T,E], and each token's experts and their weights [B,T,K] (`choose`)."""
        logits_BTE = project(x_BTD.astype(jnp.float32) * self.router_scale, self.router, self.b_router)
        logits_BTE = constrain(logits_BTE, "batch", "length", None)
        bias_E = None if self.choice_bias is None else self.choice_bias[...]
        return logits_BTE, *choose(logits_BTE, self.experts, bias_E)

    def routing(self, x_BTD: jax.Array) -> jax.Array:
        """The weight of every expert for each token [B,T,E], float32: 0 of those that were not chosen."""
        _, choice_BTK, weight_BTK = self.route(x_BTD)
        return (jax.nn.one_hot(choice_BTK, self.experts.n_experts) * weight_BTK[..., None]).sum(axis=2)

    def with_capacity(self, x_BTD, choice_BTK, weight_BTK) -> tuple[jax.Array, jax.Array]:
        """Output [B,T,D] and the share of choices dropped; rows are served apart from each other."""
        (b, t, d), n = x_BTD.shape, self.experts.n_experts
        room = capacity(self.experts, t)
        place_BTK, _ = jax.vmap(places, in_axes=(0, None))(choice_BTK, n)
        fits_BTK = place_BTK < room
        slot_BTK = jnp.where(fits_BTK, choice_BTK * room + place_BTK, n * room)
        source_BS = jax.vmap(sources, in_axes=(0, None))(slot_BTK, n * room)
        x_EBCD = jax.vmap(send)(x_BTD, source_BS, slot_BTK).reshape(b, n, room, d).swapaxes(0, 1)
        x_EBCD = constrain(x_EBCD, "experts", "batch", None, None)
        weight_EBC = jax.vmap(weights_of)(weight_BTK, source_BS).reshape(b, n, room).swapaxes(0, 1)
        y_END = self.compute(x_EBCD.reshape(n, -1, d), weight_EBC.reshape(n, -1))
        y_BSD = y_END.reshape(n, b, room, d).swapaxes(0, 1).reshape(b, -1, d)
        y_BSD = constrain(y_BSD, "batch", None, None)
        return jax.vmap(collect)(y_BSD, source_BS, slot_BTK), 1 - fits_BTK.mean(dtype=jnp.float32)

    def dropless(self, x_BTD, choice_BTK, weight_BTK) -> jax.Array:
        """Output [B,T,D]; all tokens are sorted into blocks of slots that share an expert (Gale et al. 2022).

        `jax.lax.ragged_dot` would need no blocks, but on CPUs it multiplies every slot with every expert.
        """
        d, k, n_experts = x_BTD.shape[-1], self.experts.top_k, self.experts.n_experts
        if x_BTD.shape[0] * x_BTD.shape[1] > FEW and spread.divides(x_BTD.shape[0], n_experts):
            params = (self.w_gate, self.w_up, self.w_down, self.b_gate, self.b_up, self.b_down)
            weights, names = zip(*((p[...], p.axes.names) for p in params if p is not None))
            return spread.dropless(x_BTD, choice_BTK, weight_BTK, weights, names, self.activation)
        choice_NK = choice_BTK.reshape(-1, k)
        n, owner_X = len(choice_NK), None
        if n * k < n_experts:  # a few tokens decoded: fetch the chosen experts only
            size, n_blocks, owner_X = 1, n * k, choice_NK.reshape(-1)
            slot_NK = jnp.arange(n * k).reshape(n, k)
        elif n <= FEW:
            size, n_blocks = n, n_experts
            slot_NK = choice_NK * n + jnp.arange(n)[:, None]
        else:
            size, n_blocks = BLOCK, n * k // BLOCK + n_experts
            place_NK, load_E = places(choice_NK, n_experts)
            owner_X, first_E, _ = owners(load_E, size, n_blocks)
            slot_NK = first_E[choice_NK] * size + place_NK
        source_S = sources(slot_NK, n_blocks * size)
        x_XMD = send(x_BTD.reshape(n, d), source_S, slot_NK).reshape(n_blocks, size, d)
        weight_XM = weights_of(weight_BTK.reshape(n, k), source_S).reshape(n_blocks, size)
        y_XMD = self.compute(x_XMD, weight_XM, owner_X)
        return collect(y_XMD.reshape(-1, d), source_S, slot_NK).reshape(x_BTD.shape)

    def compute(self, x_XMD, weight_XM, owner_X: jax.Array | None = None) -> jax.Array:
        """weight · SwiGLU(x) of each slot, [X,M,D]; a block's expert is its owner, or that of its index."""
        names = ("experts" if owner_X is None else None, "batch")
        x_XMD = constrain(x_XMD, *names, None)

        def product(x_XMI, w, bias, weight_XM: jax.Array | None = None):
            y_XMO = batched(x_XMI, w[...], owner_X, w.axes.names)
            if bias is None:
                return y_XMO
            bias_X1O = (bias[...] if owner_X is None else bias[...][owner_X])[:, None].astype(x_XMI.dtype)
            return y_XMO + (bias_X1O if weight_XM is None else bias_X1O * weight_XM[..., None])

        gate_XMF, up_XMF = product(x_XMD, self.w_gate, self.b_gate), product(x_XMD, self.w_up, self.b_up)
        # The router's weight is applied here, so that sending and collecting are each other's transpose.
        hidden_XMF = gated(self.activation, gate_XMF, up_XMF) * weight_XM[..., None]
        hidden_XMF = constrain(hidden_XMF, *names, "mlp")
        y_XMD = product(hidden_XMF, self.w_down, self.b_down, weight_XM)
        return constrain(y_XMD, *names, None)  # type: ignore[arg-type]  # custom_vjp hides the type


def capacity(experts: Experts, n_tokens: int) -> int:
    """Slots of one expert for a row of `n_tokens`; a token never takes two of them."""
    even = experts.capacity_factor * experts.top_k * n_tokens / experts.n_experts
    return min(n_tokens, math.ceil(even))


def block_weights(w_EDF: jax.Array, owner_X: jax.Array | None, names: tuple[str, ...], dtype) -> jax.Array:
    """[X,D,F]: the matrix of each block's expert in the compute type.

    Args:
      w_EDF: float32, a matrix of each expert.
      owner_X: int32, the expert of each block; None where block x is expert x's.
      names: logical axes of w.
      dtype: the compute type.
    """
    w_EDF = gathered(w_EDF, names, dtype)
    return w_EDF if owner_X is None else w_EDF[owner_X]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batched(
    x_XMD: jax.Array, w_EDF: jax.Array, owner_X: jax.Array | None, names: tuple[str, ...]
) -> jax.Array:
    """x times w block by block; the gradient is written out as at `layers.linear.matmul`.

    Args:
      x_XMD: the slots of each block.
      w_EDF, owner_X, names: as for `block_weights`.
    """
    return x_XMD @ block_weights(w_EDF, owner_X, names, x_XMD.dtype)


def _batched_forward(x_XMD, w_EDF, owner_X, names):
    return batched(x_XMD, w_EDF, owner_X, names), (x_XMD, w_EDF, owner_X)


def _batched_backward(names, saved, dy_XMF):
    x_XMD, w_EDF, owner_X = saved
    w_XDF, to_experts = jax.vjp(lambda w: block_weights(w, owner_X, names, x_XMD.dtype), w_EDF)
    dw_XDF = jax.lax.dot_general(x_XMD, dy_XMF, (((1,), (1,)), ((0,), (0,))))
    return dy_XMF @ w_XDF.swapaxes(1, 2), *to_experts(dw_XDF), None


batched.defvjp(_batched_forward, _batched_backward)
