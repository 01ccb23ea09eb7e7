"""Columns by the names that laws read, from the configurations of runs: where the runs differ in them.

A law of sparsity reads n_experts, expansion and granularity, laws of hyperparameters parametrization, the
annealing law what the learning rates come to. The settings themselves are columns under their own names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import from_json
from models import ladder

Config = dict[str, Any]


def n_experts(config: Config) -> int:
    """Experts of a layer; a dense model is one."""
    return _experts(config).get("n_experts", 1)


def top_k(config: Config) -> int:
    """Experts of a layer that a token passes."""
    return _experts(config).get("top_k", 1)


def expansion(config: Config) -> float:
    """Parameters of all experts over those of the experts that a token passes."""
    return n_experts(config) / top_k(config)


def granularity(config: Config) -> float:
    """Width of the dense feed-forward layer over that of an expert: Krajewski et al. 2024 (2402.07871)."""
    experts = _experts(config)
    return config["model"]["d_ff"] / experts["d_expert"] if experts else 1.0


def parametrization(config: Config) -> str:
    """The parametrisation: "mup" or "standard"."""
    return "mup" if config["model"].get("mup") else "standard"


BY_CONFIG: dict[str, Callable[[Config], Any]] = {
    "n_experts": n_experts,
    "top_k": top_k,
    "expansion": expansion,
    "granularity": granularity,
    "parametrization": parametrization,
}


def law_columns(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """Those of BY_CONFIG in which the runs differ, a cell a run."""
    found = {
        name: [of(config) if "model" in config else None for config in configs]
        for name, of in BY_CONFIG.items()
    }
    return {name: cells for name, cells in found.items() if len(set(cells)) > 1}


def annealing_at_end(configs: Sequence[Config]) -> pd.DataFrame:
    """lr_sum and annealed, which the annealing law reads, at the end of each run; a row a run.

    Where schedules differ, runs end at points of their own, and the law can do without their curves.
    """
    return pd.concat([_annealing(config) for config in configs], ignore_index=True)


def _annealing(config: Config) -> pd.DataFrame:
    import jax.numpy as jnp  # with optax and the laws too much for a plan, which has no run at its end

    from experiments.training.optim import hyperparameters, learning_rate
    from scaling.laws.training_curve.annealing import annealing_columns

    sizes = {name: config[name] for name in ("batch_tokens", "seq_len", "n_tokens")}
    optimizer = from_json(OptimizerConfig, config["optimizer"])
    schedule = from_json(ScheduleConfig, config["schedule"])
    run = RunConfig(ladder(8, 2), DataConfig(), optimizer, schedule, **sizes)  # whatever the network was
    lr = learning_rate(schedule.name, jnp.arange(run.n_steps), hyperparameters(run))
    return annealing_columns(np.asarray(lr, float), np.array([run.n_steps]))


def _experts(config: Config) -> Config:
    return config["model"].get("experts") or {}
