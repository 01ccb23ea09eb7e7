"""One training run, from configuration to result."""

import functools
import importlib.metadata
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import optax
from jax.sharding import Mesh

import models
from experiments import metrics, optim
from experiments.checkpoint import Checkpoints
from experiments.config import DataConfig, RunConfig, to_json
from experiments.data import batches
from experiments.data.cache import TokenCache, open_cache
from experiments.data.prepare import prepare
from experiments.files import write_atomic
from experiments.loss import predicted_tokens, token_losses, training_loss
from models import count, sharding
from models.config import ModelConfig

CHECKPOINT_SECONDS = 60.0
EXPLODED = 2.0  # times the loss of a uniform guess: from there no run comes back
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "isoflop")

CONVENTIONS = {
    "n_params": "parameters that are multiplied: output head included, embedding lookup excluded",
    "n_total": "all parameters",
    "n_active": "of n_params, those that one token is multiplied with",
    "flops": "counted matrix products, forward and backward, attention over all keys; no recomputation",
    "loss": "nats per token on the leading {:,} tokens of the validation split, or all of it",
}


class Stopped(Exception):
    """The run was asked to stop; its state is saved and `train` with the same arguments continues it."""


class Hooks(Protocol):
    """How a run talks to whoever started it; nothing here changes the result."""

    def should_stop(self) -> bool: ...

    def lost(self) -> bool: ...

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None: ...


@dataclass(frozen=True)
class Programs:
    """The compiled functions that all runs of one shape share."""

    init: Callable  # (key) -> (params, opt_state)
    step: Callable  # (params, opt_state, step, tokens [B,T+1], hyper) -> (the first three, numbers)
    row_losses: Callable  # (params, tokens [B,T+1]) -> nats per token of each row [B]


@functools.cache
def programs(model_config: ModelConfig, optimizer: str, schedule: str, mesh: Mesh | None = None) -> Programs:
    """Jitted functions for a network; hyperparameters are arguments, so a grid compiles once a shape."""
    model = models.build(model_config)

    def row_losses(params, tokens_BT):
        return token_losses(model, params, tokens_BT)[0].mean(axis=-1)

    def step(params, opt_state, step, tokens_BT, hyper):
        objective = functools.partial(training_loss, model)
        (_, numbers), grads = jax.value_and_grad(objective, has_aux=True)(params, tokens_BT)
        lr = optim.learning_rate(schedule, step, hyper)
        updates, opt_state = optim.optimizer(optimizer, model, hyper, lr).update(grads, opt_state, params)
        numbers |= {"grad_norm": optax.tree.norm(grads), "lr": lr}
        return optax.apply_updates(params, updates), opt_state, step + 1, numbers

    def init(key):
        params = model.init(key)
        return params, optim.init_state(optimizer, model, params)

    # Random draws unroll into long programs that run once; optimizing them costs more than it saves.
    cheap = {"xla_backend_optimization_level": 0}
    at, state_at, whole = sharding.training_shardings(model.axes, init, mesh)
    step, row_losses = sharding.on_mesh(step, mesh), sharding.on_mesh(row_losses, mesh)
    return Programs(
        jax.jit(init, out_shardings=(at, state_at), compiler_options=cheap),
        jax.jit(step, out_shardings=(at, state_at, whole, whole), donate_argnums=(0, 1, 2)),
        jax.jit(row_losses, out_shardings=whole),
    )


def train_pack(
    configs: Sequence[RunConfig],
    outs: Sequence[Path],
    hooks: Sequence[Hooks],
    mesh: Mesh | None = None,
    trunks: Path | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Trains runs of one pack_key together; yields (index, row of the table of runs) of each as it ends."""
    if len(configs) > 1:
        raise ValueError(f"pack: {len(configs)} runs; only one at a time can train")
    yield 0, train(configs[0], outs[0], hooks[0], mesh, trunks)


def train(
    config: RunConfig, out: Path, hooks: Hooks, mesh: Mesh | None = None, trunks: Path | None = None
) -> dict[str, Any]:
    """Trains one run in the folder `out` and returns its row of the table of runs.

    Started again after any interruption it continues from the newest checkpoint and ends with the same bits
    in parameters and metrics. Writes config.json, metrics.jsonl and checkpoints/; the caller records the row.
    On a mesh (`models.sharding`; default: one device) the same run is spread over its devices; it may
    continue on another, then equal to rounding.

    Raises:
      Stopped: hooks.should_stop() said so; the state is saved.
      ValueError: the data do not fit the configuration, or the batch the mesh.
    """
    # --- data -------------------------------------------------------------------------------------------
    clock = Clock()
    sharding.check_batch(config.batch_size, mesh)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "config.json", json.dumps(to_json(config), indent=1))
    training, validation = open_splits(config.data)
    put_rows = functools.partial(sharding.put, mesh=mesh, names=("batch", "length"))
    validation_rows = [put_rows(rows) for rows in validation_batches(config, validation.tokens)]
    tokens_per_byte = len(validation.tokens) / validation.n_bytes

    # --- model and optimizer ----------------------------------------------------------------------------
    compiled = programs(config.model, config.optimizer.name, config.schedule.name, mesh)
    counts = count(config.model)
    hyper = {name: sharding.put(number, mesh) for name, number in optim.hyperparameters(config).items()}
    params, opt_state = compiled.init(jax.random.key(config.seed))

    # --- resume -----------------------------------------------------------------------------------------
    checkpoints = Checkpoints(out / "checkpoints")
    meta = {"step": 0, "recent": []}
    if restored := checkpoints.restore(params=params, opt_state=opt_state, meta=None):
        params, opt_state, meta = restored["params"], restored["opt_state"], restored["meta"]
    first_step = meta["step"]
    device_step = sharding.put(np.int32(first_step), mesh)
    scale = {
        "tokens": config.batch_tokens,
        "flops": config.batch_tokens * counts.flops_per_token(config.seq_len),
    }
    record = metrics.Metrics(out / "metrics.jsonl", config.n_steps, scale, first_step, meta["recent"])
    del restored, meta
    clock.lap("start")

    # --- loop: a step is dispatched before the one before it is read --------------------------------------
    def note(step: int, numbers: dict[str, jax.Array]) -> bool:
        """Records what step number `step` measured; whether the run is still sound."""
        measured = {name: float(number) for name, number in jax.device_get(numbers).items()}
        loss = measured.pop("loss")
        record.training(step, loss, **measured)
        trained = (step - first_step - 1) * config.batch_tokens
        speed = trained / max(time.perf_counter() - running_since, 1e-9)
        hooks.progress(step, config.n_steps, speed, loss)
        return loss < EXPLODED * math.log(config.model.vocab_size)  # false for NaN, too

    evaluate_at = metrics.eval_steps(config.n_steps)
    sound, pending = True, None
    saved_at = running_since = time.perf_counter()
    with jax.transfer_guard("disallow"):
        for step in range(first_step + 1, config.n_steps + 1):
            tokens_BT = batches.batch(
                training.tokens, config.seed, step - 1, config.batch_size, config.seq_len
            )
            params, opt_state, device_step, numbers = compiled.step(
                params, opt_state, device_step, put_rows(tokens_BT), hyper
            )
            if step == first_step + 1:
                jax.block_until_ready(numbers)
                clock.lap("compile")
                running_since = clock.mark
            if pending is not None:
                sound = note(step - 1, pending)
            pending = numbers
            stop = hooks.should_stop()
            save = stop or step == config.n_steps or time.perf_counter() - saved_at > CHECKPOINT_SECONDS
            if sound and (save or step in evaluate_at):
                sound, pending = note(step, pending), None
                clock.lap("train")
            if sound and step in evaluate_at:
                # An eighth of the rows shows the curve; the end counts and reads them all.
                n = len(validation_rows) if step == config.n_steps else -(-len(validation_rows) // 8)
                losses = [compiled.row_losses(params, rows) for rows in validation_rows[:n]]
                n_predicted = predicted_tokens(models.build(config.model), config.seq_len)
                record.validation(step, np.concatenate(jax.device_get(losses)), n_predicted, tokens_per_byte)
                clock.lap("evaluate")
            if not sound:
                break
            if save:
                record.sync()
                checkpoints.save(step, params, opt_state, {"step": step, "recent": record.recent})
                saved_at = time.perf_counter()
                clock.lap("checkpoint")
            if stop and step < config.n_steps:
                checkpoints.close()
                raise Stopped
    checkpoints.close()
    clock.lap("checkpoint")
    record.sync()
    return result(config, training, out, clock.seconds) | {"n_devices": mesh.size if mesh else 1}


class Clock:
    """Seconds of a run by what they were spent on."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.mark = time.perf_counter()

    def lap(self, name: str) -> None:
        """Books the time since the last lap under `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.mark
        self.mark = now


def open_splits(data: DataConfig) -> tuple[TokenCache, TokenCache]:
    """Training and validation split, prepared if they are not there yet; raises as `prepare` does."""
    folder = prepare(data)
    return open_cache(folder, "train"), open_cache(folder, "validation")


def validation_batches(config: RunConfig, tokens: np.ndarray) -> list[np.ndarray]:
    """The leading rows of the validation split, int32[B, T+1] each; rows that fill no batch are left out."""
    n_windows = min(batches.count_windows(len(tokens), config.seq_len), config.n_val_tokens // config.seq_len)
    size = config.batch_size if n_windows >= config.batch_size else n_windows
    if n_windows < 2:
        raise ValueError(
            f"run: n_val_tokens={config.n_val_tokens} of {len(tokens)} validation tokens make "
            f"{n_windows} rows of seq_len={config.seq_len}; a loss with a standard error needs two"
        )
    starts = range(0, n_windows - size + 1, size)
    return [batches.cut(tokens, np.arange(start, start + size), config.seq_len) for start in starts]


def result(config: RunConfig, training: TokenCache, out: Path, seconds: dict[str, float]) -> dict[str, Any]:
    """The run's row of the table of runs, with its conventions, versions and timing.

    `loss` is the validation loss measured at the end; a run that did not get there diverged: infinite.
    """
    counts, last = count(config.model), metrics.read(out / "metrics.jsonl")[-1]
    done = last["step"] == config.n_steps and "val_loss" in last
    n_tokens = last["tokens"]
    epochs = batches.epochs(len(training.tokens), n_tokens, config.seq_len)
    return {
        "run_id": config.run_id,
        "status": "done" if done else "diverged",
        "n_params": counts.n_params,
        "n_embed": counts.n_embed,
        "n_total": counts.n_total,
        "n_active": counts.n_active,
        "n_tokens": n_tokens,
        "flops": last["flops"],
        "loss": last["val_loss"] if done else math.inf,
        "loss_se": last["val_loss_se"] if done else math.nan,
        "bits_per_byte": last["val_bits_per_byte"] if done else math.inf,
        "val_tokens": last["val_tokens"] if done else 0,
        "lr": config.optimizer.lr,
        "batch_tokens": config.batch_tokens,
        "seq_len": config.seq_len,
        "family": config.model.family,
        "d_model": config.model.d_model,
        "n_layers": config.model.n_layers,
        "seed": config.seed,
        "epochs": epochs,
        "unique_tokens": min(n_tokens, len(training.tokens)),
        "n_steps": last["step"],
        "wall_seconds": sum(seconds.values()),
        "flops_per_second": last["flops"] / max(seconds.get("train", 0.0), 1e-9),
        "seconds": seconds,
        "device": describe(jax.devices()[0]),
        "data": {
            name: training.manifest[name] for name in ("task", "source", "licence", "tokenizer", "splits")
        },
        "conventions": CONVENTIONS | {"loss": CONVENTIONS["loss"].format(config.n_val_tokens)},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def describe(device: Any) -> str:
    """The kind of a jax device, and of a CPU how many cores this process may use."""
    if device.platform != "cpu":
        return device.device_kind
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu, {n_cores} core{'' if n_cores == 1 else 's'}"
