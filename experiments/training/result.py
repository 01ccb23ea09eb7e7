"""A run's row of the table of runs."""

import importlib.metadata
import math
import os
from typing import Any

import jax

from experiments.config import RunConfig
from experiments.data import batches
from experiments.data.cache import TokenCache
from models import count

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "isoflop")

CONVENTIONS = {
    "n_params": "parameters that are multiplied: output head included, embedding lookup excluded",
    "n_total": "all parameters",
    "n_active": "of n_params, those that one token is multiplied with",
    "flops": "counted matrix products, forward and backward, attention over all keys; no recomputation",
    "loss": "nats per token on the leading {:,} tokens of the validation split, or all of it",
}


def result_row(
    config: RunConfig, training: TokenCache, last: dict[str, Any], first_step: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """The row of a run, with its conventions, versions and timing.

    `loss` is the validation loss measured at the end; a run that did not get there diverged: infinite.

    Args:
      config: the run.
      training: the split it trained on.
      last: the last line of its metrics.
      first_step: the step it was continued after, 0 if it was not; `seconds`, and so flops_per_second, are of
        the steps after that.
      seconds: wall seconds by what they were spent on: "start", "compile", "train", "evaluate", "checkpoint".
    """
    counts = count(config.model)
    done = last["step"] == config.n_steps and "val_loss" in last
    n_tokens = last["tokens"]
    epochs = batches.epochs(len(training.tokens), n_tokens, config.seq_len)
    flops_here = last["flops"] / last["step"] * max(0, last["step"] - first_step)
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
        "flops_per_second": max(flops_here / max(seconds.get("train", 0.0), 1e-9), 1.0),  # 0 gives no times
        "seconds": seconds,
        "device": describe_device(jax.devices()[0]),
        "data": {
            name: training.manifest[name] for name in ("task", "source", "licence", "tokenizer", "splits")
        },
        "conventions": CONVENTIONS | {"loss": CONVENTIONS["loss"].format(config.n_val_tokens)},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def describe_device(device: Any) -> str:
    """The kind of a jax device, and of a CPU how many cores this process may use."""
    if device.platform != "cpu":
        return device.device_kind
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu, {n_cores} core{'' if n_cores == 1 else 's'}"
