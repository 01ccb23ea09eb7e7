"""A training step as a call without arguments, for benchmarks to time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import optim
from experiments.training.train import training_functions
from launch.workers.process import keep_memory
from models import ModelConfig


def run_config(model: ModelConfig, batch: int, seq_len: int) -> RunConfig:
    """A run of the network with AdamW, of any length: only its shapes matter here."""
    schedule, optimizer = ScheduleConfig(), OptimizerConfig(1e-3)
    return RunConfig(model, DataConfig(), optimizer, schedule, batch * seq_len, seq_len, 10**9)


def stepper(model: ModelConfig, batch: int, seq_len: int) -> Callable[[], jax.Array]:
    """A call that runs one training step on random tokens, compiled already, and gives its loss; from then on
    this process keeps its memory, as workers do."""
    keep_memory()
    config = run_config(model, batch, seq_len)
    compiled = training_functions(model, config.optimizer.name, config.schedule.name)
    hyper = optim.hyperparameters(config)
    state = [*compiled.init(jax.random.key(0)), jnp.int32(0)]
    tokens_BT = jax.random.randint(jax.random.key(1), (batch, seq_len + 1), 0, model.vocab_size)

    def step() -> jax.Array:
        *state[:], numbers = compiled.step(*state, tokens_BT, hyper)
        return numbers["loss"]

    step().block_until_ready()
    return step
