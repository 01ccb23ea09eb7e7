"""Memory of a training step on each device, predicted from its traced program without compiling it."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import learnt_reward
from experiments.posttraining.trainable import trainable
from experiments.training import optim
from experiments.training.checkpoints.load import frozen_part
from experiments.training.memory.jaxpr_memory import made_bytes, n_bytes, peak_bytes
from experiments.training.memory.layouts import Layout, laid_out
from experiments.training.objectives import batch_like
from experiments.training.train import training_functions
from models import sharding
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


def training_memory(run: RunConfig, mesh: dict[str, int] | None = None, platform: str = "") -> Memory:
    """Memory of a run's training step on a mesh of these sizes by axis (None: one device).

    A reward model, of which a plan may know no more than its name, counts as one of the run's own size.

    Args:
      run: its step's shapes count, nothing else.
      mesh: sizes by axis.
      platform: "cpu", "gpu" or "tpu", on which the kernels depend; "": that of the devices here.
    """
    # Nothing else of a run changes the memory of its step.
    optimizer = OptimizerConfig(lr=1.0, name=run.optimizer.name)
    n_tokens = run.batch_tokens
    alike = dataclasses.replace(
        RunConfig(run.model, DataConfig(), optimizer, ScheduleConfig(), n_tokens, run.seq_len, n_tokens),
        init=run.init,
        examples=run.examples,
        objective=run.objective,
        micro_batches=run.micro_batches,
    )
    sizes = tuple((axis, n) for axis, n in (mesh or {}).items() if n > 1)
    return _traced(alike, sizes, platform or jax.default_backend())


@functools.cache
def _traced(run: RunConfig, sizes: tuple[tuple[str, int], ...], platform: str) -> Memory:
    """The memory of a step that is traced on a mesh of devices of a platform, none of which need be here; its
    parameters are never made."""
    mesh, recipe, model = sharding.abstract_mesh(dict(sizes), platform), run.recipe, models.build(run.model)
    if learnt_reward(run.objective):
        recipe = dataclasses.replace(recipe, reward_model=run.model)
    compiled = training_functions(run.model, run.optimizer.name, run.schedule.name, mesh, 1, recipe)
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

    params_at = sharding.shardings(parts.axes, params, mesh)
    opt_state_at = sharding.state_shardings(opt_state, params, params_at, mesh)
    stored_at = [sharding.shardings(axes, tree, mesh) for tree, axes in stored]
    at = [*_layouts(params, params_at), *_layouts(opt_state, opt_state_at), ()]
    at += [laid_out(x.shape, sharding.batch_sharding(x, mesh)) for x in jax.tree.leaves(batch)]
    at_rest = [*_layouts(hyper), *_layouts(fixed)]
    step = compiled.step.trace(params, opt_state, number, batch, hyper, fixed).jaxpr
    peak = peak_bytes(step.jaxpr, [*at, *at_rest])

    def forward(params: Any, batch: Any, hyper: Any, fixed: Any) -> Any:
        def whole(params: Any) -> Any:
            return parts.whole(params, fixed["frozen"], hyper)

        if objective.collect is not None:
            batch, _ = objective.collect(whole(params), batch, hyper, fixed)
        n_updates = objective.minibatches * recipe.micro_batches
        part = jax.tree.map(lambda x: x[: len(x) // n_updates], batch)
        return jax.vjp(lambda p: objective.loss(whole(p), part, hyper)[0], params)[1]

    kept = jax.make_jaxpr(sharding.on_mesh(forward, mesh))(params, batch, hyper, fixed).jaxpr
    n_batch, of_params = len(jax.tree.leaves(batch)), _layouts(params, params_at)
    residuals = made_bytes(kept, [*of_params, *at[len(at) - n_batch :], *at_rest])
    trained = bytes_a_device(params, params_at)
    fixed_bytes = sum(bytes_a_device(tree, where) for (tree, _), where in zip(stored, stored_at))
    made = max(0, peak - trained)
    activations = min(residuals, made)  # some may be gone by the busiest moment
    return Memory(
        parameters=trained + fixed_bytes,
        optimizer=bytes_a_device(opt_state, opt_state_at),
        gradients=trained,
        activations=activations,
        working=made - activations,
    )


def _layouts(tree: Any, shardings: Any = None) -> list[Layout]:
    """Of the arrays of a tree in order, by a like tree of shardings (None: all are whole)."""
    leaves = jax.tree.leaves(tree)
    return [
        laid_out(x.shape, at) for x, at in zip(leaves, jax.tree.leaves(shardings) or [None] * len(leaves))
    ]


def bytes_a_device(tree: Any, shardings: Any) -> int:
    """Bytes of a tree on each device, laid out by a tree of shardings."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings))
    return sum(n_bytes(jax.ShapeDtypeStruct(s.shard_shape(x.shape), x.dtype)) for x, s in pairs)


def smallest_mesh(run: RunConfig, device_bytes: float) -> dict[str, int] | None:
    """The mesh of fewest devices, a power of two, on which a run's step fits; {} is one device, None means
    that none of those tried is large enough.

    Spreads over fsdp, which must divide the batch, and then over tensor.
    """
    alone = training_memory(run)
    state = alone.parameters + alone.optimizer + alone.gradients
    for n in (2**i for i in range(MAX_DEVICES.bit_length())):
        if state / n > device_bytes:
            continue  # no need to trace the step
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
