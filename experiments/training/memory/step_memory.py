"""Memory of a training step on each device, predicted from its traced program without compiling it."""

import functools
import math
import os
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Var

import models
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.training import optim
from experiments.training.loss import training_loss
from experiments.training.memory.jaxpr_memory import n_bytes, peak_bytes
from experiments.training.train import training_functions
from models import sharding

MAX_DEVICES = 4096
# Beyond one machine's devices, spreading single products costs more than it saves.
TENSOR_SIZES = (1, 2, 4, 8)
MAX_PACKED = 64


@dataclass(frozen=True)
class Memory:
    """Bytes on each device at a training step's busiest moment.

    activations: residuals, which the forward pass keeps for the backward pass
    working: all else at that moment: logits and their gradient, what one layer is computed with
    """

    parameters: int
    optimizer: int
    gradients: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Traced:
    """A step on one device: abstract parameters and optimizer state, bytes of what it makes at its busiest
    moment, bytes of its residuals."""

    params: Any
    opt_state: Any
    peak: int
    residuals: int


def training_memory(run: RunConfig, mesh: dict[str, int] | None = None) -> Memory:
    """Memory of a run's training step on a mesh of these sizes by axis (None: one device).

    Along tensor and expert only what is stored counts as spread, activations do not.
    """
    abstract_mesh = sharding.abstract_mesh(mesh or {})
    sizes, model = abstract_mesh.shape, models.build(run.model)
    rows = max(1, run.batch_size // math.prod(sizes[axis] for axis in sharding.RULES["batch"]))
    # Nothing else of a run changes the memory of its step.
    optimizer = OptimizerConfig(lr=1.0, name=run.optimizer.name)
    n_tokens = rows * run.seq_len
    traced = trace(
        RunConfig(run.model, DataConfig(), optimizer, ScheduleConfig(), n_tokens, run.seq_len, n_tokens)
    )
    params_at = sharding.shardings(model.axes, traced.params, abstract_mesh)
    opt_state_at = sharding.state_shardings(traced.opt_state, traced.params, params_at, abstract_mesh)
    parameters, gradients = bytes_a_device(traced.params, params_at), bytes_a_device(traced.params, None)
    # Sharded weights are gathered where they are read: a layer's is among the work, as on one device; a
    # table is not.
    leaves = zip(jax.tree.leaves(traced.params), jax.tree.leaves(model.axes))
    tables = sum(n_bytes(leaf) for leaf, axes in leaves if "layers" not in axes.copies)
    gathered = tables if sizes["fsdp"] > 1 else 0
    activations = min(traced.residuals, traced.peak - gradients)  # some may be gone by the busiest moment
    return Memory(
        parameters=parameters,
        optimizer=bytes_a_device(traced.opt_state, opt_state_at),
        gradients=parameters,
        activations=activations // sizes["sequence"],
        working=(traced.peak - gradients - activations) // sizes["sequence"] + gathered,
    )


@functools.cache
def trace(run: RunConfig) -> Traced:
    """The step of a run, traced on one device; its parameters are never made."""
    compiled = training_functions(run.model, run.optimizer.name, run.schedule.name, None)
    model = models.build(run.model)
    params, opt_state = jax.eval_shape(compiled.init, jax.random.key(0))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    tokens_BT = jax.ShapeDtypeStruct((run.batch_size, run.seq_len + 1), jnp.int32)
    hyper = jax.eval_shape(lambda: optim.hyperparameters(run))
    step = compiled.step.trace(params, opt_state, number, tokens_BT, hyper).jaxpr

    def backward(params, tokens_BT):
        return jax.vjp(lambda p: training_loss(model, p, tokens_BT)[0], params)[1]

    forward = jax.make_jaxpr(backward)(params, tokens_BT).jaxpr
    outputs = {var for var in forward.outvars if isinstance(var, Var)}
    residuals = sum(n_bytes(var.aval) for var in outputs - {*forward.invars, *forward.constvars})
    return Traced(params, opt_state, peak_bytes(step.jaxpr), residuals)


def bytes_a_device(tree: Any, shardings: Any) -> int:
    """Bytes of a tree on each device, laid out by a tree of shardings (None: all of it)."""
    leaves = jax.tree.leaves(tree)
    if shardings is None:
        return sum(map(n_bytes, leaves))
    pairs = zip(leaves, jax.tree.leaves(shardings))
    return sum(n_bytes(jax.ShapeDtypeStruct(s.shard_shape(x.shape), x.dtype)) for x, s in pairs)


def smallest_mesh(run: RunConfig, device_bytes: float) -> dict[str, int] | None:
    """The mesh of fewest devices, a power of two, on which a run's step fits; {} is one device, None means
    that none of those tried is large enough.

    Spreads over fsdp, which must divide the batch, and then over tensor.
    """
    for n in (2**i for i in range(MAX_DEVICES.bit_length())):
        for tensor in TENSOR_SIZES:
            fsdp = n // tensor
            if fsdp * tensor == n and run.batch_size % fsdp == 0:
                mesh = {axis: size for axis, size in (("fsdp", fsdp), ("tensor", tensor)) if size > 1}
                if training_memory(run, mesh).total <= device_bytes:
                    return mesh
    return None


def pack_size(run: RunConfig, device_bytes: float, platform: str) -> int:
    """How many runs like this one to train as one program: on an accelerator as many as fit into four fifths
    of its memory; on a CPU one, whose cores a single run keeps busy (`benchmarks/experiments/packing.py`).
    """
    if platform == "cpu":
        return 1
    return max(1, min(MAX_PACKED, int(0.8 * device_bytes / training_memory(run).total)))


def memory_needs(run: RunConfig, device_bytes: float) -> dict[str, Any]:
    """What `isoflop plan` shows of a run: bytes on one device by what they hold, those of one row's cache
    when decoding `seq_len` tokens, and the smallest mesh on which the run fits ({}: one device, None: none).
    """
    memory = training_memory(run)
    return vars(memory) | {
        "total": memory.total,
        "cache_a_row": models.count(run.model).cache_bytes(run.seq_len),
        "d_model": run.model.d_model,
        "mesh": smallest_mesh(run, device_bytes),
    }


def device_memory() -> int:
    """Bytes of the device that this process would train on: an accelerator's own, or the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
