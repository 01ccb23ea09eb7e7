"""Experts without drops on a mesh, by hand: left to the partitioner, every device would take all tokens.

Devices along "expert" are a group: each gathers the group's tokens, computes those that chose its experts,
and the sums go back to where the tokens came from. Rows along "data" and "fsdp" stay where they are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from models.layers.mlp import gated
from models.layers.moe.slots import collect, owners, places, send, sources, weights_of
from models.sharding import RULES, spec

BLOCK = 512  # slots: reading an expert's weights takes an accelerator about as long as their products then
ROWS = RULES["batch"]
Weights = tuple[jax.Array, ...]  # of gate and up, [E,D,F], and down, [E,F,D]; then biases of each, if any


def divides(n_rows: int, n_experts: int) -> bool:
    """Whether there is a mesh in use that shares out rows, and these rows and experts evenly."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return False
    (of_rows,) = spec(("batch",), (n_rows,), mesh)
    used = {of_rows} if isinstance(of_rows, str) else set(of_rows or ())
    return (
        bool(used) and used == {a for a in ROWS if mesh.shape[a] > 1} and not n_experts % mesh.shape["expert"]
    )


def dropless(x_BTD, choice_BTK, weight_BTK, weights: Weights, names: Any, activation: str) -> jax.Array:
    """Output [B,T,D].

    Args:
      x_BTD: the tokens, in the compute type.
      choice_BTK: int32, their experts.
      weight_BTK: and how much these weigh.
      weights: of all experts, float32.
      names: the logical axes of each of the weights.
      activation: of the gate.
    """
    mesh = jax.sharding.get_abstract_mesh()
    rows = PartitionSpec(ROWS)
    of_weights = tuple(
        PartitionSpec(*(axis if axis in ROWS else None for axis in spec(axes, w.shape, mesh)))
        for axes, w in zip(names, weights)
    )

    # Not kept for the backward pass: the group's tokens and the gathered weights, which it collects again.
    @jax.checkpoint
    def on_each(x_BTD, choice_BTK, weight_BTK, weights):
        weights = tuple(_gather(w.astype(x_BTD.dtype), at) for w, at in zip(weights, of_weights))
        if mesh.shape["expert"] > 1:
            x_BTD, choice_BTK, weight_BTK = (
                jax.lax.all_gather(x, "expert", axis=0, tiled=True) for x in (x_BTD, choice_BTK, weight_BTK)
            )
        y_BTD = _own(x_BTD, choice_BTK, weight_BTK, weights, activation)
        if mesh.shape["expert"] > 1:
            y_BTD = jax.lax.psum_scatter(y_BTD, "expert", scatter_dimension=0, tiled=True)
        return y_BTD

    specs = (rows, rows, rows, of_weights)
    shared_out = jax.shard_map(on_each, in_specs=specs, out_specs=rows, axis_names=set(ROWS), check_vma=False)
    return shared_out(x_BTD, choice_BTK, weight_BTK, weights)


def _gather(w: jax.Array, at: PartitionSpec) -> jax.Array:
    return jax.lax.all_gather(w, "fsdp", axis=at.index("fsdp"), tiled=True) if "fsdp" in at else w


def _own(x_BTD, choice_BTK, weight_BTK, weights: Weights, activation: str) -> jax.Array:
    """What this device's experts add to each token [B,T,D]."""
    (*_, d), k, n_experts = x_BTD.shape, choice_BTK.shape[-1], len(weights[0])
    choice_NK = choice_BTK.reshape(-1, k) - jax.lax.axis_index("expert") * n_experts
    n = len(choice_NK)
    n_blocks = -(-n * min(k, n_experts) // BLOCK) + n_experts  # if all choose as many of them as they can
    place_NK, load_E = places(choice_NK, n_experts)
    owner_X, first_E, n_used = owners(load_E, BLOCK, n_blocks)
    own_NK = (choice_NK >= 0) & (choice_NK < n_experts)
    slot_NK = first_E[choice_NK.clip(0, n_experts - 1)] * BLOCK + place_NK
    slot_NK = jnp.where(own_NK, slot_NK, n_blocks * BLOCK)
    source_S = sources(slot_NK, n_blocks * BLOCK)
    x_XMD = send(x_BTD.reshape(n, d), source_S, slot_NK).reshape(n_blocks, BLOCK, d)
    weight_XM = weights_of(weight_BTK.reshape(n, k), source_S).reshape(n_blocks, BLOCK)
    y_XMD: Any = blocks(activation, x_XMD, weight_XM, weights, owner_X, n_used)
    return collect(y_XMD.reshape(-1, d), source_S, slot_NK).reshape(x_BTD.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def blocks(activation: str, x_XMD, weight_XM, weights: Weights, owner_X, n_used) -> jax.Array:
    """weight · SwiGLU(x) of each slot [X,M,D], block after block, and zeros in blocks that are not used.

    The loop ends with the blocks that are: there is room for the worst case, but no time is spent on it. Its
    gradient is written out, as there is none of such a loop, and adds up those of the weights in float32.

    Args:
      activation: of the gate.
      x_XMD, weight_XM: the slots, and what their outputs weigh.
      weights: of the experts, in the type of x.
      owner_X, n_used: see `owners`.
    """

    def one(i, y_XMD):
        own = (w[owner_X[i]] for w in weights)
        return y_XMD.at[i].set(_swiglu(activation, x_XMD[i], weight_XM[i], *own))

    return jax.lax.fori_loop(0, n_used, one, jnp.zeros_like(x_XMD))


def _swiglu(activation: str, x_MD, weight_M, gate_DF, up_DF, down_FD, *biases) -> jax.Array:
    gate_MF, up_MF = x_MD @ gate_DF, x_MD @ up_DF
    if not biases:
        return (gated(activation, gate_MF, up_MF) * weight_M[:, None]) @ down_FD
    b_gate_F, b_up_F, b_down_D = biases
    hidden_MF = gated(activation, gate_MF + b_gate_F, up_MF + b_up_F)
    return (hidden_MF @ down_FD + b_down_D) * weight_M[:, None]


def _blocks_forward(activation, *arguments):
    return blocks(activation, *arguments), arguments


def _blocks_backward(activation, saved, dy_XMD):
    x_XMD, weight_XM, weights, owner_X, n_used = saved

    def one(i, gradients):
        dx_XMD, d_weight_XM, d_weights = gradients
        own = (w[owner_X[i]] for w in weights)
        _, backward = jax.vjp(functools.partial(_swiglu, activation), x_XMD[i], weight_XM[i], *own)
        dx_MD, d_weight_M, *d_own = backward(dy_XMD[i])
        d_weights = tuple(
            all_of.at[owner_X[i]].add(one_of.astype(jnp.float32)) for all_of, one_of in zip(d_weights, d_own)
        )
        return dx_XMD.at[i].set(dx_MD), d_weight_XM.at[i].set(d_weight_M), d_weights

    zeros = tuple(jnp.zeros(w.shape, jnp.float32) for w in weights)
    start = jnp.zeros_like(x_XMD), jnp.zeros_like(weight_XM), zeros
    dx_XMD, d_weight_XM, d_weights = jax.lax.fori_loop(0, n_used, one, start)
    return dx_XMD, d_weight_XM, tuple(d.astype(w.dtype) for d, w in zip(d_weights, weights)), None, None


blocks.defvjp(_blocks_forward, _blocks_backward)
