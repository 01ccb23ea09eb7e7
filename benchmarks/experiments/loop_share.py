"""Of the time between the first and the last step of a run, how much is spent inside the compiled step?

    python benchmarks/experiments/loop_share.py

Trains the verification run of the default study for 3,000 steps as `isoflop train` would, then calls the same
compiled step as often, back to back, on a batch that is there already. The rest is batches, the reading of
metrics, validation and checkpoints.
"""

import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.experiments.packing import Hooks
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import optim
from experiments.training.train import train, training_functions
from models import count, ladder

N_STEPS = 3000


def main() -> None:
    config = RunConfig(
        model=ladder(80, 259),
        data=DataConfig(),
        optimizer=OptimizerConfig(5e-3),
        schedule=ScheduleConfig(),
        batch_tokens=512,
        seq_len=128,
        n_tokens=512 * N_STEPS,
        n_val_tokens=65_536,
    )
    with tempfile.TemporaryDirectory() as folder:
        seconds = train(config, Path(folder), Hooks())["seconds"]
    loop = seconds["train"] + seconds["evaluate"] + seconds["checkpoint"]

    compiled, hyper = training_functions(config.model, "adamw", "wsd"), optim.hyperparameters(config)
    state = [*compiled.init(jax.random.key(0)), jnp.int32(0)]
    tokens_BT = jnp.zeros((config.batch_size, config.seq_len + 1), jnp.int32)
    *state[:], numbers = compiled.step(*state, tokens_BT, hyper)
    jax.block_until_ready(numbers)
    began = time.perf_counter()
    for _ in range(N_STEPS):
        *state[:], numbers = compiled.step(*state, tokens_BT, hyper)
    jax.block_until_ready(numbers)
    inside = time.perf_counter() - began
    flops = N_STEPS * config.batch_tokens * count(config.model).flops_per_token(config.seq_len)
    n_params = count(config.model).n_params
    print(f"N = {n_params:,}: loop {loop:.2f} s, compiled step {inside:.2f} s, {inside / loop:.1%}")
    print(f"of it validation {seconds['evaluate']:.2f} s, checkpoints {seconds['checkpoint']:.2f} s")
    print(f"before it set-up {seconds['start']:.2f} s, compile {seconds['compile']:.2f} s")
    print(f"{flops / inside / 1e9:.1f} GFLOP/s counted")


if __name__ == "__main__":
    main()
