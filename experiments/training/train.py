"""Training runs, from configuration to row: data, build, restore, step, evaluate, checkpoint.

`train_packed` is the recipe and `training_functions` the mathematics of a step. Beside them: what one run
keeps on disk (run_state.py), runs that train as one program (packed_run.py), steps that runs take over from
each other (shared_prefix.py), jit and sharding (compiled.py), the loss and the optimizers.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

import models
from experiments.config import Recipe, RunConfig
from experiments.objective import RunData
from experiments.posttraining.trainable import trainable
from experiments.training import optim
from experiments.training.checkpoints.load import Start, frozen_part, start
from experiments.training.compiled import Compiled, compile_functions
from experiments.training.gradients import gradients, over_minibatches
from experiments.training.objectives import data_of, objective_of
from experiments.training.packed_run import Clock, PackedRun
from experiments.training.run_state import Hooks, RunState
from models import ModelConfig, sharding
from models.layers.heads import scalar

PRETRAINING = Recipe()
NOTHING: dict[str, Any] = {}


class Stopped(Exception):
    """The runs were asked to stop; their state is saved and the same call continues them."""


class Lost(Exception):
    """The run is somebody else's now."""


def train(
    config: RunConfig,
    out: Path,
    hooks: Hooks,
    mesh: Mesh | None = None,
    shared_prefixes: Path | None = None,
) -> dict[str, Any]:
    """Trains one run in the folder `out` and returns its row of the table of runs.

    Args:
      config: the run.
      out: its folder, made if it is not there.
      hooks: whoever started it.
      mesh: devices to spread it over; None: one device.
      shared_prefixes: folder of branch checkpoints, for more of which see `train_packed`; None: none.

    Raises:
      Lost: hooks.lost() said so.
      Stopped, ValueError: as `train_packed`.
    """
    for _, row in train_packed([config], [out], [hooks], mesh, shared_prefixes):
        return row
    raise Lost


def train_packed(
    configs: Sequence[RunConfig],
    outs: Sequence[Path],
    hooks: Sequence[Hooks],
    mesh: Mesh | None = None,
    shared_prefixes: Path | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Trains runs of one `pack_key` together, each in its folder, as one program on one device; yields
    (index, row of the table of runs) of each when it ends. A run that diverges ends at once.

    Started again after any interruption, a run continues from its newest checkpoint (packed runs from the
    newest that all have) and ends with the same bits in parameters and metrics. Writes config.json,
    metrics.jsonl and checkpoints/; the caller records the row. A packed run writes what it would have written
    alone, to rounding, and may continue alone or packed with others; times in its row are its share.

    Args:
      configs: K runs that differ in seed and traced numbers only.
      outs: K folders, made if they are not there.
      hooks: K, one a run: whoever started it.
      mesh: (`models.sharding`; None: one device) devices to spread a single run over, also those of several
        processes, which must share the file system and all call this; only process 0 writes. The run may
        continue on another mesh, then equal to rounding.
      shared_prefixes: a folder in which runs of one `prefix_key` leave each other branch checkpoints, so that
        they take over each other's steps before their decays, bit for bit
        (`experiments.training.checkpoints.shared_prefix`); "trunk_steps" in the row says how many.

    Raises:
      Stopped: the hooks of one run said so; the state of all is saved.
      ValueError: the data do not fit the configuration, the batch not the mesh, or a run not the others.
    """
    _check(configs, mesh)
    config = configs[0]  # for what is equal for all
    clock = Clock()

    # Data: training batches are a function of seed and step; validation batches are on the devices once.
    data = data_of(config)
    _check_vocabulary(config, data)
    validation = [sharding.put_batch(batch, mesh) for batch in data.validation]

    # Build: functions compile once a shape, since hyperparameters are arguments.
    begun, *_ = (start(*run) for run in zip(configs, outs))  # equal, and each has its own copy
    compiled = training_functions(
        config.model, config.optimizer.name, config.schedule.name, mesh, len(configs), begun.recipe
    )
    hyper = {name: sharding.put(x, mesh) for name, x in optim.stacked_hyperparameters(configs).items()}
    network, fixed = parameters_at_start(config, compiled, begun, mesh)

    # Restore, or initialise.
    runs = [RunState(*run, compiled, shared_prefixes) for run in zip(configs, outs, hooks, strict=True)]
    packed = PackedRun(runs, compiled, data, clock, mesh)
    params, opt_state = packed.restore_newest(network, begun.opt_state)
    del begun, network  # of which only what is in `fixed` is still needed
    device_step = sharding.put(np.int32(packed.first_step), mesh)
    clock.lap("start")

    with contextlib.ExitStack() as closing:
        for run in runs:
            closing.callback(run.close)
        for step in range(packed.first_step + 1, config.n_steps + 1):
            with jax.transfer_guard("disallow"):
                # Step: dispatched before what the one before it measured is read.
                batch = training_batch(data, configs, step, mesh)
                params, opt_state, device_step, measured = compiled.step(
                    params, opt_state, device_step, batch, hyper, fixed
                )
                packed.dispatched(step, measured)
                planned = step in packed.evaluation_steps or step in packed.branch_steps
                stop, save = packed.poll(step, device_step, force=planned)
                packed.record(until=step if save or planned else step - 1)

                # Evaluate.
                if packed.evaluates(step):
                    # An eighth of the rows shows the curve; the end counts, or any may, and reads them all.
                    whole = step == config.n_steps or packed.runs[0].patience
                    n = len(validation) if whole else -(-len(validation) // 8)
                    packed.record_validation(step, *evaluate(compiled, params, validation[:n], hyper, fixed))

                # Checkpoint.
                save |= packed.improved(step)
                if step in packed.branch_steps:
                    packed.save_branch_checkpoints(step, params, opt_state)
                if save:
                    packed.save_checkpoints(step, params, opt_state)
            yield from packed.ended_rows()
            if not packed.active():
                return
            if stop and step < config.n_steps:
                raise Stopped
        yield from packed.final_rows()


@functools.cache
def training_functions(
    model_config: ModelConfig,
    optimizer: str,
    schedule: str,
    mesh: Mesh | None = None,
    n_runs: int = 1,
    recipe: Recipe = PRETRAINING,
) -> Compiled:
    """The initial state, the training step and the validation measurements of a network, compiled.

    Args:
      model_config: the network.
      optimizer: a name of `optim.OPTIMIZERS`.
      schedule: a name of `optim.SCHEDULES`.
      mesh: devices to spread a run over; None: one device.
      n_runs: runs that train as one program, on one device.
      recipe: what is minimised, and what of the parameters is trained for it.
    """
    model = models.build(model_config)
    objective = objective_of(model, recipe)
    parts = trainable(objective, recipe)
    trained_model = dataclasses.replace(model, axes=parts.axes)

    def init(key, network=None):
        fresh = objective.init(key)
        params = parts.trained(key, fresh if network is None else objective.place(fresh, network))
        return params, optim.init_state(optimizer, trained_model, params)

    def step(params, opt_state, step, batch, hyper, fixed=NOTHING):
        def whole(params):
            return parts.whole(params, fixed.get("frozen", {}), hyper)

        def loss(params, batch):
            return objective.loss(whole(params), batch, hyper)

        def update(state, batch):
            params, opt_state = state
            grads, measured = gradients(loss, params, batch, recipe.micro_batches)
            lr = optim.learning_rate(schedule, step, hyper)
            change = optim.optimizer(optimizer, trained_model, hyper, lr).update
            updates, opt_state = change(grads, opt_state, params)
            measured |= {"grad_norm": optax.tree.norm(grads), "lr": lr}
            return (optax.apply_updates(params, updates), opt_state), measured

        experience, collected = batch, {}
        if objective.collect is not None:
            experience, collected = objective.collect(whole(params), batch, hyper, fixed)
        (params, opt_state), measured = over_minibatches(update, (params, opt_state), experience, objective)
        measured |= collected
        if objective.adapt is not None:
            # What it changes is new, and so among what is trained as it is.
            new = objective.adapt(params.get("full", params), measured, hyper)
            params = params | {"full": new} if "full" in params else new
        return params, opt_state, step + 1, measured

    def measure(params, batch, hyper, fixed=NOTHING):
        return objective.measure(parts.whole(params, fixed.get("frozen", {}), hyper), batch, hyper, fixed)

    return compile_functions(objective, parts.axes, init, step, measure, mesh, n_runs)


def parameters_at_start(
    config: RunConfig, compiled: Compiled, begun: Start, mesh: Mesh | None
) -> tuple[Any, dict[str, Any]]:
    """On the devices: the network that a run starts from, None for a fresh one, and what is not trained.

    Args:
      config: the run.
      compiled: its functions.
      begun: what it starts from.
      mesh: devices to spread it over; None: one device.

    Raises:
      ValueError: the objective needs a checkpoint to start from.
    """
    objective = compiled.objective
    if not begun.trees:
        if objective.fixed:
            raise ValueError(
                f"objective: it needs {' and '.join(objective.fixed)}; give `init`, a checkpoint"
            )
        return None, {}
    axes = {"network": models.build(config.model).axes}
    if begun.recipe.reward_model is not None:
        axes["reward"] = scalar(models.build(begun.recipe.reward_model)).axes
    trees = {name: sharding.put_parameters(begun.trees[name], axes[name], mesh) for name in axes}
    network = trees["network"]
    fixed = {"reference": network, "reward": trees.get("reward")}
    fixed = {name: fixed[name] for name in objective.fixed}
    frozen = frozen_part(objective, trainable(objective, begun.recipe), network)
    return network, fixed | ({"frozen": frozen} if frozen else {})


def training_batch(data: RunData, configs: Sequence[RunConfig], step: int, mesh: Mesh | None) -> Any:
    """The batch of a step on the devices; a process reads the rows that its devices hold.

    Args:
      data: of the runs.
      configs: K runs, of which only the seeds differ here.
      step: counts from 1.
      mesh: devices to spread it over; None: one device.

    Returns:
      A tree of arrays [B, …] of one run, [K, B, …] of several; of pretraining int32[B, T+1].
    """
    seeds = [config.seed for config in configs]
    if len(seeds) == 1:
        read = functools.partial(data.training, seeds[0], step - 1)
        return sharding.put_rows(read, configs[0].batch_size, mesh)
    by_seed = {seed: data.training(seed, step - 1, slice(None)) for seed in set(seeds)}
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *(by_seed[seed] for seed in seeds))
    return jax.tree.map(lambda x: sharding.put(x, mesh), stacked)


def evaluate(
    compiled: Compiled, params: Any, batches: Sequence[Any], hyper: dict[str, Any], fixed: dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Measurements of each row of the batches by name, float32[K, R], for each of K runs; and the texts of
    the first batch, [K, B, …], of an objective that samples them.

    Args:
      compiled: of K runs.
      params: their trained parameters.
      batches: on the devices.
      hyper: their hyperparameters.
      fixed: parameters that are not trained.
    """
    measured = [jax.device_get(compiled.measure(params, batch, hyper, fixed)) for batch in batches]
    texts, *_ = [each.pop("texts", {}) for each in measured]
    one_run = measured[0]["loss"].ndim == 1
    numbers = {
        name: np.concatenate([np.atleast_2d(each[name]) for each in measured], axis=1) for name in measured[0]
    }
    return numbers, {name: array[None] if one_run else array for name, array in texts.items()}


def _check_vocabulary(config: RunConfig, data: RunData) -> None:
    size = data.manifest["tokenizer"]["size"]
    if size > config.model.vocab_size:
        raise ValueError(
            f"model: vocab_size={config.model.vocab_size}, but the data's tokenizer "
            f"{data.manifest['tokenizer']['name']!r} has {size} tokens; give the model as many"
        )


def _check(configs: Sequence[RunConfig], mesh: Mesh | None) -> None:
    sharding.check_batch(configs[0].batch_size, mesh)
    if len(configs) > 1 and mesh is not None:
        raise ValueError(f"pack: {len(configs)} runs on a mesh; runs train together on one device only")
    if len({config.pack_key for config in configs}) > 1:
        ids = ", ".join(config.run_id for config in configs)
        raise ValueError(
            f"pack: runs {ids} differ in more than seed and the numbers of optimizer and schedule; "
            "only runs of one pack_key train together"
        )
    needed = 4 * len(configs) * models.count(configs[0].model).n_total
    have = sharding.device_memory() * (mesh.size if mesh else 1)
    if needed > have:  # a lower bound, and cheap: `isoflop plan` knows the rest
        raise ValueError(
            f"run {configs[0].run_id}: its parameters alone take {needed / 1e9:,.1f} GB, and there are "
            f"{have / 1e9:,.1f} GB; `isoflop plan` says on which mesh it fits"
        )
