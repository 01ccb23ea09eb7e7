"""A run's row of the table of runs."""

import importlib.metadata
import math
import os
from typing import Any

import jax
import numpy as np

from experiments.config import RunConfig
from experiments.objective import RunData
from models import count

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "isoflop")

CONVENTIONS = {
    "n_params": "parameters that are multiplied: output head included, embedding lookup excluded",
    "n_total": "all parameters",
    "n_active": "of n_params, those that one token is multiplied with",
    "flops": "counted matrix products, forward and backward, attention over all keys; no recomputation",
    "loss": "nats per token on the leading {:,} tokens of the validation split, or all of it",
}


MIXED_LOSS = (
    "nats per token, the plain mean of the components' losses, on the leading {:,} tokens of the validation "
    "split, equally many of each component"
)
LOSSES = {
    "sft": "nats per response token of the validation conversations",
    "reward": "mean of -log σ(r_chosen - r_rejected) over the validation pairs",
    "classifier": "mean of -log p(label) over the validation texts, nats",
    "dpo": "mean of the preference loss over the validation pairs",
}
OF_TEXT = ("val_loss", "val_loss_se", "val_bits_per_byte", "val_tokens")


def result_row(
    config: RunConfig,
    data: RunData,
    last: dict[str, Any],
    first_step: int,
    seconds: dict[str, float],
    kept: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The row of a run, with its conventions, versions and timing.

    `loss` is the validation loss measured at the end; a run that did not get there, or has no
    finite one, diverged: infinite.

    Args:
      config: the run.
      data: what it trained on.
      last: the last line of its metrics.
      first_step: the step it was continued after, 0 if it was not; `seconds`, and so flops_per_second, are of
        the steps after that.
      seconds: wall seconds by what they were spent on: "start", "compile", "train", "evaluate", "checkpoint".
      kept: of a run that may stop early, the line of its best evaluation: its parameters are kept, and the
        row is of them; "stopped_after", among what post-training adds, says how many steps were made.
    """
    counts = count(config.model)
    done = kept is not None or (
        last["step"] == config.n_steps and math.isfinite(last.get("val_loss", math.nan))
    )
    stopped_after = {"stopped_after": last["step"]} if kept else {}
    last = kept or last
    n_tokens = last["tokens"]
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
        "bits_per_byte": last.get("val_bits_per_byte", math.nan) if done else math.inf,
        "val_tokens": last.get("val_tokens", 0) if done else 0,
        "lr": config.optimizer.lr,
        "batch_tokens": config.batch_tokens,
        "seq_len": config.seq_len,
        "family": config.model.family,
        "d_model": config.model.d_model,
        "n_layers": config.model.n_layers,
        "seed": config.seed,
        "epochs": n_tokens / data.tokens_an_epoch,
        "unique_tokens": _unique_tokens(config, data, last["step"]),
        "n_steps": last["step"],
        "wall_seconds": sum(seconds.values()),
        "flops_per_second": max(flops_here / max(seconds.get("train", 0.0), 1e-9), 1.0),  # 0 gives no times
        "seconds": seconds,
        "device": describe_device(jax.devices()[0]),
        "data": {name: data.manifest[name] for name in ("task", "source", "licence", "tokenizer", "splits")},
        "post_training": _of_post_training(config, last) | stopped_after,
        "components": _of_components(config, data, last, done),
        "conventions": CONVENTIONS | {"loss": _loss_convention(config)},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _of_post_training(config: RunConfig, last: dict[str, Any]) -> dict[str, Any]:
    """Where the run started, its objective with all settings, and what else was measured at the end."""
    columns: dict[str, Any] = {}
    if config.init:
        columns["init"] = config.init.source
    if config.objective:
        settings = vars(config.objective)
        columns["objective"] = settings["kind"]
        columns |= {f"objective_{name}": value for name, value in settings.items() if name != "kind"}
        measured = (name for name in last if name.startswith("val_") and name not in OF_TEXT)
        columns |= {name.removeprefix("val_"): last[name] for name in measured}
    return columns


def _unique_tokens(config: RunConfig, data: RunData, n_steps: int) -> int:
    """Distinct tokens that a run has trained on after so many steps."""
    if data.components is None:
        return min(n_steps * config.batch_tokens, data.n_train_tokens)
    rows = data.components.rows_until(n_steps * config.batch_size)
    return int(np.minimum(rows, data.components.n_windows).sum()) * config.seq_len


def _of_components(config: RunConfig, data: RunData, last: dict[str, Any], done: bool) -> dict[str, Any]:
    """Of each component of mixed data: its share of what was read, epochs, distinct tokens, and losses."""
    if data.components is None:
        return {}
    rows, columns = data.components.rows_until(last["step"] * config.batch_size), {}
    for name, n, n_windows in zip(data.components.names, rows.tolist(), data.components.n_windows):
        columns[f"share_{name}"] = n / int(rows.sum())
        columns[f"loss_{name}"] = last[f"val_loss_{name}"] if done else math.inf
        columns[f"bits_per_byte_{name}"] = last[f"val_bits_per_byte_{name}"] if done else math.inf
        columns[f"epochs_{name}"] = n / n_windows
        columns[f"unique_tokens_{name}"] = min(n, n_windows) * config.seq_len
    return columns


def _loss_convention(config: RunConfig) -> str:
    if config.objective is None and config.data.has_components:
        return MIXED_LOSS.format(config.n_val_tokens)
    if config.objective is None:
        return CONVENTIONS["loss"].format(config.n_val_tokens)
    return LOSSES.get(config.objective.kind, "minus the mean objective, reward - β KL, on validation prompts")


def describe_device(device: Any) -> str:
    """The kind of a jax device, and of a CPU how many cores this process may use."""
    if device.platform != "cpu":
        return device.device_kind
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu, {n_cores} core{'' if n_cores == 1 else 's'}"
