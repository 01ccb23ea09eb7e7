"""Optimizers and learning-rate schedules as functions of traced hyperparameters.

Hyperparameters arrive as float32 scalars inside the compiled step, so runs that differ only in them share
one compilation.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from experiments.config import RunConfig
from experiments.files import user_code
from experiments.objective_configs import traced
from models.model import Model
from models.parameters import Axes
from models.parametrization import is_hidden, multipliers

Hyper = dict[str, jax.Array]
Direction = Callable[[Any, Hyper], optax.GradientTransformation]


def hyperparameters(config: RunConfig) -> Hyper:
    """The traced numbers of a run, all float32 scalars: optimizer, schedule, length, and its objective's."""
    optimizer, schedule = config.optimizer, config.schedule
    numbers = {
        "lr": optimizer.lr,
        "b1": optimizer.b1,
        "b2": optimizer.b2,
        "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay,
        "clip_norm": optimizer.clip_norm,
        "warmup": schedule.warmup,
        "warmup_steps": schedule.warmup_tokens / config.batch_tokens,
        "decay": schedule.decay,
        "decay_power": schedule.decay_power,
        "final": schedule.final,
        "n_steps": config.n_steps,
    }
    if config.objective:
        numbers |= traced(config.objective)
    if config.init and config.init.lora:
        numbers["lora_scale"] = config.init.lora.alpha / config.init.lora.rank
    return {name: jnp.float32(number) for name, number in numbers.items()}


def stacked_hyperparameters(configs: Sequence[RunConfig]) -> dict[str, Any]:
    """Hyperparameters of K runs, float32[K] each; scalars of a single run."""
    hypers = [hyperparameters(config) for config in configs]
    return jax.tree.map(lambda *numbers: np.stack(numbers), *hypers) if hypers[1:] else hypers[0]


def wsd(progress: jax.Array, hyper: Hyper) -> jax.Array:
    """Warm-up, constant, then decay to `final` over the last `decay` of the run (Hu et al. 2024): a line, or
    with another `decay_power` than 1 the part of the decay that is made, to this power."""
    into_decay = jnp.clip((progress - (1 - hyper["decay"])) / jnp.maximum(hyper["decay"], 1e-9), 0, 1)
    power = hyper["decay_power"]
    fallen = jnp.where(power == 1, into_decay, into_decay**power)  # the line to the last bit, as it has been
    return 1 - (1 - hyper["final"]) * fallen


def cosine(progress: jax.Array, hyper: Hyper) -> jax.Array:
    """Warm-up, then half a cosine down to `final` over the rest of the run."""
    steps = hyper["warmup_steps"]
    warmup = jnp.where(steps > 0, steps / hyper["n_steps"], hyper["warmup"])
    after = (progress - warmup) / jnp.maximum(1 - warmup, 1e-9)
    return hyper["final"] + (1 - hyper["final"]) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(after, 0, 1)))


SCHEDULES = {"wsd": wsd, "cosine": cosine}


def learning_rate(schedule: str, step: jax.Array, hyper: Hyper) -> jax.Array:
    """Learning rate of step 0, 1, …; the schedule is read at the middle of the step.

    A warm-up of `warmup_steps`, if not 0, does not depend on n_steps, nor does what follows it under wsd.
    """
    middle = step.astype(jnp.float32) + 0.5
    progress, steps = middle / hyper["n_steps"], hyper["warmup_steps"]
    relative = progress / jnp.maximum(hyper["warmup"], 1e-9)
    warmup = jnp.clip(jnp.where(steps > 0, middle / jnp.maximum(steps, 1e-9), relative), 0, 1)
    return hyper["lr"] * warmup * SCHEDULES[schedule](progress, hyper)


def adam(axes: Any, hyper: Hyper) -> optax.GradientTransformation:
    """Adam's direction (Kingma & Ba 2015); its updates have entries near 1."""
    return optax.scale_by_adam(b1=hyper["b1"], b2=hyper["b2"], eps=hyper["eps"])


def lion(axes: Any, hyper: Hyper) -> optax.GradientTransformation:
    """The sign of a momentum (Chen et al. 2023)."""
    return optax.scale_by_lion(b1=hyper["b1"], b2=hyper["b2"])


def muon(axes: Any, hyper: Hyper) -> optax.GradientTransformation:
    """Hidden matrices by Muon (Jordan et al. 2024), each layer's and each expert's orthogonalised on its own;
    tables, head, router, low-rank maps and vectors by Adam."""

    def orthogonal(a: Axes) -> Any:
        if not is_hidden(a):
            return optax.MaskedNode()
        first, middle = len(a.copies), len(a.copies) + len(a.inputs)
        return MuonDimensionNumbers(tuple(range(first, middle)), tuple(range(middle, len(a.names))))

    def widen(update: jax.Array, of: MuonDimensionNumbers) -> jax.Array:
        """Jordan's √(fan-out / fan-in), where it is more than 1."""
        fan_in, fan_out = (math.prod(update.shape[i] for i in side) for side in of)  # type: ignore
        return update * max(1.0, fan_out / fan_in) ** 0.5

    numbers = jax.tree.map(orthogonal, axes)
    groups: dict[Hashable, optax.GradientTransformation] = {
        "muon": optax.chain(
            scale_by_muon(beta=hyper["b1"], eps=hyper["eps"], weight_dimension_numbers=numbers),
            optax.stateless(lambda updates, _: jax.tree.map(widen, updates, numbers)),
        ),
        "adam": adam(axes, hyper),
    }
    return optax.partition(groups, jax.tree.map(lambda a: "muon" if is_hidden(a) else "adam", axes))


# (axes of the parameters, hyperparameters) -> direction of descent, before decay and learning rate
OPTIMIZERS: dict[str, Direction] = {"adamw": adam, "muon": muon, "lion": lion}


def find_direction(name: str) -> Direction:
    """One of OPTIMIZERS, or the user's own.

    Raises:
      ValueError: there is no such optimizer.
    """
    found = OPTIMIZERS.get(name) or user_code.find(name, "optimizer.name")
    if found is None:
        raise ValueError(f"optimizer: name={name!r}; there are {', '.join(OPTIMIZERS)}, or FILE.py:NAME")
    return found


def optimizer(name: str, model: Model, hyper: Hyper, lr: jax.Array) -> optax.GradientTransformation:
    """The named optimizer of a model's parameters behind global-norm clipping.

    Weight decay is decoupled and multiplied by the learning rate (Loshchilov & Hutter 2019); it is for
    matrices and tables: what has no inputs (norm scales, biases) is left alone. The multipliers of the
    model's parametrisation come into the compiled step as constants, those of 1 not at all.

    Args:
      name: one of OPTIMIZERS, or FILE.py:NAME@HASH of a file that this process has run.
      model: the network, for the axes of its parameters and its parametrisation.
      hyper: traced float32 scalars, see `hyperparameters`.
      lr: learning rate of this step, a float32 scalar.

    Raises:
      ValueError: an unknown name.
    """
    direction = find_direction(name)
    factors = multipliers(model.config, model.axes, muon=name == "muon")

    def step(update, param, a: Axes, lr_factor: float, decay_factor: float):
        if a.inputs:
            update = update + _times(hyper["weight_decay"], decay_factor) * param
        return -_times(lr, lr_factor) * update

    return optax.chain(
        optax.clip_by_global_norm(hyper["clip_norm"]),  # type: ignore[arg-type]
        # Adam of g/c with ε is Adam of g with c·ε.
        optax.stateless(lambda grads, _: jax.tree.map(lambda g, c: _times(g, 1 / c), grads, factors.eps)),
        direction(model.axes, hyper),
        optax.stateless(
            lambda updates, params: jax.tree.map(
                step, updates, params, model.axes, factors.lr, factors.weight_decay
            )
        ),
    )


def _times(x: jax.Array, factor: float) -> jax.Array:
    """The product, left out of the compiled step where the factor is 1."""
    return x if factor == 1 else x * factor


def init_state(name: str, model: Model, params: Any) -> Any:
    """Optimizer state before the first step; it does not depend on the hyperparameters."""
    ones = dict.fromkeys(("b1", "b2", "eps", "weight_decay", "clip_norm"), 1.0)
    return optimizer(name, model, ones, 1.0).init(params)  # type: ignore[arg-type]
