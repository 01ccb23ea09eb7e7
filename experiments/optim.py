"""Optimizers and learning-rate schedules as functions of traced hyperparameters.

Hyperparameters arrive as float32 scalars inside the compiled step, so runs that differ only in them share
one compilation.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.config import RunConfig

Hyper = dict[str, jax.Array]


def hyperparameters(config: RunConfig) -> Hyper:
    """The traced numbers of a run: optimizer, schedule and length, all float32 scalars."""
    optimizer, schedule = config.optimizer, config.schedule
    numbers = {
        "lr": optimizer.lr,
        "b1": optimizer.b1,
        "b2": optimizer.b2,
        "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
        "clip_norm": optimizer.clip_norm,
        "warmup": schedule.warmup,
        "decay": schedule.decay,
        "final": schedule.final,
        "n_steps": config.n_steps,
    }
    return {name: jnp.float32(number) for name, number in numbers.items()}


def wsd(progress: jax.Array, hyper: Hyper) -> jax.Array:
    """Warm-up, constant, then linear decay to `final` over the last `decay` of the run (Hu et al. 2024)."""
    into_decay = (progress - (1 - hyper["decay"])) / jnp.maximum(hyper["decay"], 1e-9)
    return 1 - (1 - hyper["final"]) * jnp.clip(into_decay, 0, 1)


def cosine(progress: jax.Array, hyper: Hyper) -> jax.Array:
    """Warm-up, then half a cosine down to `final` over the rest of the run."""
    after = (progress - hyper["warmup"]) / jnp.maximum(1 - hyper["warmup"], 1e-9)
    return hyper["final"] + (1 - hyper["final"]) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(after, 0, 1)))


SCHEDULES = {"wsd": wsd, "cosine": cosine}


def learning_rate(schedule: str, step: jax.Array, hyper: Hyper) -> jax.Array:
    """Learning rate of step 0, 1, …; the schedule is read at the middle of the step."""
    progress = (step.astype(jnp.float32) + 0.5) / hyper["n_steps"]
    warmup = jnp.clip(progress / jnp.maximum(hyper["warmup"], 1e-9), 0, 1)
    return hyper["lr"] * warmup * SCHEDULES[schedule](progress, hyper)


def is_matrix(path: tuple, leaf: jax.Array) -> bool:
    """Weight decay is for matrices: norm scales are left alone."""
    return path[-1].key != "scale"


def adamw(hyper: Hyper, lr: jax.Array) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019): decay is decoupled and multiplied by the learning rate."""
    return optax.adamw(
        lr,
        b1=hyper["b1"],
        b2=hyper["b2"],
        eps=hyper["eps"],
        weight_decay=hyper["weight_decay"],
        mask=lambda params: jax.tree.map_with_path(is_matrix, params),
    )


OPTIMIZERS = {"adamw": adamw}


def optimizer(config_name: str, hyper: Hyper, lr: jax.Array) -> optax.GradientTransformation:
    """The named optimizer behind global-norm clipping."""
    clip = optax.clip_by_global_norm(hyper["clip_norm"])  # type: ignore[arg-type]
    return optax.chain(clip, OPTIMIZERS[config_name](hyper, lr))


def init_state(name: str, params: Any) -> Any:
    """Optimizer state before the first step; it does not depend on the hyperparameters."""
    ones = dict.fromkeys(("b1", "b2", "eps", "weight_decay", "clip_norm"), 1.0)
    return optimizer(name, ones, 1.0).init(params)  # type: ignore[arg-type]
