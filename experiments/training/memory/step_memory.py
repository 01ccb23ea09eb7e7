"""Memory of a training step on each device, predicted from its traced program without compiling it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Var

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import learnt_reward
from experiments.posttraining.trainable import trainable
from experiments.training import optim
from experiments.training.checkpoints.load import frozen_part
from experiments.training.memory.jaxpr_memory import n_bytes, peak_bytes
from experiments.training.objectives import batch_like
from experiments.training.train import training_functions
from models import sharding
from models.configs.counting import itemsize
from models.layers.heads import scalar

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

    parameters: int  # those that are not trained, too
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
    """A step on one device: abstract parameters, those that are not trained with their axes, optimizer state,
    bytes of what the step makes at its busiest moment, a call for those of loss and gradient alone, bytes of
    the residuals."""

    params: Any
    opt_state: Any
    axes: Any
    fixed: tuple[tuple[Any, Any], ...]
    peak: int
    gradient_peak: Callable[[], int]
    residuals: int


def training_memory(run: RunConfig, mesh: dict[str, int] | None = None) -> Memory:
    """Memory of a run's training step on a mesh of these sizes by axis (None: one device).

    Along tensor and expert only what is stored counts as spread, activations do not.
    """
    abstract_mesh = sharding.abstract_mesh(mesh or {})
    sizes = abstract_mesh.shape
    rows = max(1, run.batch_size // math.prod(sizes[axis] for axis in sharding.RULES["batch"]))
    # Nothing else of a run changes the memory of its step.
    optimizer = OptimizerConfig(lr=1.0, name=run.optimizer.name)
    n_tokens = rows * run.seq_len
    traced = trace(
        dataclasses.replace(
            RunConfig(run.model, DataConfig(), optimizer, ScheduleConfig(), n_tokens, run.seq_len, n_tokens),
            init=run.init,
            examples=run.examples,
            objective=run.objective,
            micro_batches=math.gcd(run.micro_batches, rows),
        )
    )
    params_at = sharding.shardings(traced.axes, traced.params, abstract_mesh)
    opt_state_at = sharding.state_shardings(traced.opt_state, traced.params, params_at, abstract_mesh)
    trained, gradients = bytes_a_device(traced.params, params_at), bytes_a_device(traced.params, None)
    fixed = sum(
        bytes_a_device(tree, sharding.shardings(axes, tree, abstract_mesh)) for tree, axes in traced.fixed
    )
    # Sharded weights are gathered where they are read: a layer's is among the work, as on one device; a
    # table is not.
    leaves = zip(jax.tree.leaves(traced.params), jax.tree.leaves(traced.axes))
    tables = sum(leaf.size for leaf, axes in leaves if "layers" not in axes.copies) * itemsize(run.model)
    gathered = tables if sizes["fsdp"] > 1 else 0
    made = traced.peak - gradients
    if mesh:  # what the update makes of the gradients is spread like them
        made = max(made * trained // gradients, traced.gradient_peak() - gradients)
    activations = min(traced.residuals, made)  # some may be gone by the busiest moment
    return Memory(
        parameters=trained + fixed,
        optimizer=bytes_a_device(traced.opt_state, opt_state_at),
        gradients=trained,
        activations=activations // sizes["sequence"],
        working=(made - activations) // sizes["sequence"] + gathered,
    )


@functools.cache
def trace(run: RunConfig) -> Traced:
    """The step of a run, traced on one device; its parameters are never made.

    A reward model, of which a plan may know no more than its name, counts as one of the run's own size.
    """
    recipe, model = run.recipe, models.build(run.model)
    if learnt_reward(run.objective):
        recipe = dataclasses.replace(recipe, reward_model=run.model)
    compiled = training_functions(run.model, run.optimizer.name, run.schedule.name, None, 1, recipe)
    objective, parts, key = compiled.objective, trainable(compiled.objective, recipe), jax.random.key(0)
    network = jax.eval_shape(model.init, key)
    params, opt_state = jax.eval_shape(compiled.init, key)
    number, batch = jax.ShapeDtypeStruct((), jnp.int32), batch_like(run)
    hyper = jax.eval_shape(lambda: optim.hyperparameters(run))

    # Of what is not trained, the reference's arrays are the frozen part's.
    fixed = {"frozen": jax.eval_shape(functools.partial(frozen_part, objective, parts), network)}
    stored: list[tuple[Any, Any]] = []
    if "reference" in objective.fixed or fixed["frozen"]:
        stored.append((network, model.axes))
        fixed["reference"] = network
    if recipe.reward_model is not None:
        reward = scalar(models.build(recipe.reward_model))
        fixed["reward"] = jax.eval_shape(reward.init, key)
        stored.append((fixed["reward"], reward.axes))
    step = compiled.step.trace(params, opt_state, number, batch, hyper, fixed).jaxpr

    def backward(params: Any, fixed: Any, batch: Any, hyper: Any, transform: Callable) -> Any:
        def whole(params: Any) -> Any:
            return parts.whole(params, fixed["frozen"], hyper)

        if objective.collect is not None:
            batch, _ = objective.collect(whole(params), batch, hyper, fixed)
        n_updates = objective.minibatches * recipe.micro_batches
        part = jax.tree.map(lambda x: x[: len(x) // n_updates], batch)
        return transform(lambda p: objective.loss(whole(p), part, hyper)[0], params)

    def traced(transform: Callable) -> Any:
        return jax.make_jaxpr(backward, static_argnums=4)(params, fixed, batch, hyper, transform).jaxpr

    @functools.cache
    def gradient_peak() -> int:
        return peak_bytes(traced(lambda loss, params: jax.grad(loss)(params)))

    forward = traced(lambda loss, params: jax.vjp(loss, params)[1])
    outputs = {var for var in forward.outvars if isinstance(var, Var)}
    residuals = sum(n_bytes(var.aval) for var in outputs - {*forward.invars, *forward.constvars})
    peak = peak_bytes(step.jaxpr)
    return Traced(params, opt_state, parts.axes, tuple(stored), peak, gradient_peak, residuals)


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
