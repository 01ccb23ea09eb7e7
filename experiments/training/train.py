"""Training runs, from configuration to row: data, build, restore, step, evaluate, checkpoint.

`train_packed` is the recipe and `training_functions` the mathematics of a step. Beside them: what one run
keeps on disk (run_state.py), runs that train as one program (packed_run.py), steps that runs take over from
each other (shared_prefix.py), jit and sharding (compiled.py), the loss and the optimizers.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

import models
from experiments.config import RunConfig
from experiments.data import batches
from experiments.data.prepare import open_splits
from experiments.training import optim
from experiments.training.compiled import Compiled, compile_functions
from experiments.training.loss import token_losses, training_loss
from experiments.training.packed_run import Clock, PackedRun
from experiments.training.run_state import Hooks, RunState
from models import ModelConfig, sharding


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
        (`experiments.training.shared_prefix`); "trunk_steps" in the row says how many.

    Raises:
      Stopped: the hooks of one run said so; the state of all is saved.
      ValueError: the data do not fit the configuration, the batch not the mesh, or a run not the others.
    """
    _check(configs, mesh)
    config = configs[0]  # for what is equal for all
    runs = [RunState(*run, shared_prefixes) for run in zip(configs, outs, hooks, strict=True)]
    clock = Clock()

    # Data: training batches are a function of seed and step; validation batches are on the devices once.
    training, validation = open_splits(config.data)
    rows = batches.validation_batches(
        validation.tokens, config.batch_size, config.seq_len, config.n_val_tokens
    )
    validation_rows = [sharding.put(each, mesh, ("batch", "length")) for each in rows]
    tokens_per_byte = len(validation.tokens) / validation.n_bytes

    # Build: functions compile once a shape, since hyperparameters are arguments.
    compiled = training_functions(
        config.model, config.optimizer.name, config.schedule.name, mesh, len(configs)
    )
    hyper = {name: sharding.put(x, mesh) for name, x in optim.stacked_hyperparameters(configs).items()}

    # Restore, or initialise.
    packed = PackedRun(runs, compiled, training, clock, mesh)
    params, opt_state = packed.restore_newest()
    device_step = sharding.put(np.int32(packed.first_step), mesh)
    clock.lap("start")

    with contextlib.ExitStack() as closing:
        for run in runs:
            closing.callback(run.close)
        for step in range(packed.first_step + 1, config.n_steps + 1):
            with jax.transfer_guard("disallow"):
                # Step: dispatched before what the one before it measured is read.
                tokens = training_batch(training.tokens, configs, step, mesh)
                params, opt_state, device_step, measured = compiled.step(
                    params, opt_state, device_step, tokens, hyper
                )
                packed.dispatched(step, measured)
                fixed = step in packed.evaluation_steps or step in packed.branch_steps
                stop, save = packed.poll(step, device_step, force=fixed)
                packed.record(until=step if save or fixed else step - 1)

                # Evaluate.
                if packed.evaluates(step):
                    # An eighth of the rows shows the curve; the end counts and reads them all.
                    n = len(validation_rows) if step == config.n_steps else -(-len(validation_rows) // 8)
                    losses_KR = evaluate(compiled, params, validation_rows[:n])
                    packed.record_validation(step, losses_KR, tokens_per_byte)

                # Checkpoint.
                if step in packed.branch_steps:
                    packed.save_branch_checkpoints(step, params, opt_state)
                if save:
                    packed.save_checkpoints(step, params, opt_state)
            yield from packed.diverged_rows()
            if not packed.active():
                return
            if stop and step < config.n_steps:
                raise Stopped
        yield from packed.final_rows()


@functools.cache
def training_functions(
    model_config: ModelConfig, optimizer: str, schedule: str, mesh: Mesh | None = None, n_runs: int = 1
) -> Compiled:
    """The initial state, the training step and the validation loss of a network, compiled.

    Args:
      model_config: the network.
      optimizer: a name of `optim.OPTIMIZERS`.
      schedule: a name of `optim.SCHEDULES`.
      mesh: devices to spread a run over; None: one device.
      n_runs: runs that train as one program, on one device.
    """
    model = models.build(model_config)

    def init(key):
        params = model.init(key)
        return params, optim.init_state(optimizer, model, params)

    def step(params, opt_state, step, tokens_BT, hyper):
        objective = functools.partial(training_loss, model)
        (_, measured), grads = jax.value_and_grad(objective, has_aux=True)(params, tokens_BT)
        lr = optim.learning_rate(schedule, step, hyper)
        updates, opt_state = optim.optimizer(optimizer, model, hyper, lr).update(grads, opt_state, params)
        measured |= {"grad_norm": optax.tree.norm(grads), "lr": lr}
        return optax.apply_updates(params, updates), opt_state, step + 1, measured

    def row_losses(params, tokens_BT):
        return token_losses(model, params, tokens_BT)[0].mean(axis=-1)

    return compile_functions(model, init, step, row_losses, mesh, n_runs)


def training_batch(
    tokens: np.ndarray, configs: Sequence[RunConfig], step: int, mesh: Mesh | None
) -> jax.Array:
    """The batch of a step on the devices; a process reads the rows that its devices hold.

    Args:
      tokens: int[n_tokens], the training split.
      configs: K runs, of which only the seeds differ here.
      step: counts from 1.
      mesh: devices to spread it over; None: one device.

    Returns:
      int32[B, T+1] of one run, int32[K, B, T+1] of several.
    """
    size, seq_len = configs[0].batch_size, configs[0].seq_len

    def read(seed: int, rows: slice = slice(None)) -> np.ndarray:
        return batches.batch(tokens, seed, step - 1, size, seq_len, rows)

    seeds = [config.seed for config in configs]
    if len(seeds) == 1:
        shape = (size, seq_len + 1)
        return sharding.put_rows(functools.partial(read, seeds[0]), shape, mesh, ("batch", "length"))
    by_seed = {seed: read(seed) for seed in set(seeds)}
    return sharding.put(np.stack([by_seed[seed] for seed in seeds]), mesh)


def evaluate(compiled: Compiled, params: Any, batches_BT: Sequence[jax.Array]) -> np.ndarray:
    """Nats per token of each row of the batches, float32[K, R], for each of K runs."""
    losses = [jax.device_get(compiled.row_losses(params, tokens_BT)) for tokens_BT in batches_BT]
    return np.concatenate([np.atleast_2d(x) for x in losses], axis=1)


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
