"""How fast the training step is, against plain jitted matrix products of the same shapes in the same process.

    python benchmarks/step_speed.py [--json]

Each line is a model of the width given, 8 rows of 256 tokens. `ideal` is the time of the matrix products of
one step, forward and backward, one after the other; `fraction_of_ideal` compares the step with it.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments import optim
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data import batches
from experiments.train import programs
from models import count
from models.config import TransformerConfig

SHAPES = {128: 4, 256: 6, 512: 8}  # width: layers


def seconds(call, at_least: float = 2.0) -> float:
    """Time of one call: the median of five rounds."""
    call().block_until_ready()
    rounds = []
    for _ in range(5):
        n, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < at_least / 5:
            call().block_until_ready()
            n += 1
        rounds.append(spent / n)
    return float(np.median(rounds))


def ideal_seconds(config: TransformerConfig, batch: int, seq_len: int) -> float:
    """Time of all matrix products of a training step as plain jitted calls, layer after layer."""
    tokens, d, f = batch * seq_len, config.d_model, config.d_ff
    heads, k = config.n_heads, config.d_head
    a = heads * k
    layer = [(d, a)] * 3 + [(a, d)] + [(d, f)] * 2 + [(f, d)]
    product, batched = jax.jit(jnp.matmul), jax.jit(jnp.matmul)
    total = 0.0
    for inputs, outputs in {*layer, (d, config.vocab_size)}:
        times = layer.count((inputs, outputs)) * config.n_layers or 1
        x, w = jnp.ones((tokens, inputs)), jnp.ones((inputs, outputs))
        dy = jnp.ones((tokens, outputs))
        for one, other in ((x, w), (dy, w.T + 0), (x.T + 0, dy)):
            total += times * seconds(lambda one=one, other=other: product(one, other), 0.25)
    q, scores = jnp.ones((batch, heads, seq_len, k)), jnp.ones((batch, heads, seq_len, seq_len))
    keys = q.swapaxes(2, 3) + 0
    for one, other, times in ((q, keys, 2), (scores, q, 4)):
        repeats = times * config.n_layers
        total += repeats * seconds(lambda one=one, other=other: batched(one, other), 0.25)
    return total


def measure(d_model: int, n_layers: int, batch: int = 8, seq_len: int = 256) -> dict:
    model = TransformerConfig(256, d_model, n_layers, d_model // 64, d_model // 64, 64, d_model * 8 // 3)
    config = RunConfig(
        model, DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), batch * seq_len, seq_len, 10**9
    )
    compiled, hyper = programs(model, "adamw", "wsd"), optim.hyperparameters(config)
    state = [*compiled.init(jax.random.key(0)), jnp.int32(0)]
    corpus = np.random.default_rng(0).integers(0, 256, 1_000_000).astype(np.uint16)
    tokens_BT = jnp.asarray(batches.batch(corpus, 0, 0, batch, seq_len))

    def step():
        *state[:], numbers = compiled.step(*state, tokens_BT, hyper)
        return numbers

    step_seconds = seconds(step, 5.0)
    ideal = ideal_seconds(model, batch, seq_len)
    flops = batch * seq_len * count(model).flops_per_token(seq_len)
    flops_6n = 6 * count(model).n_params * batch * seq_len
    return {
        "d_model": d_model,
        "step_ms": 1e3 * step_seconds,
        "gflops_counted": flops / step_seconds / 1e9,
        "gflops_6n": flops_6n / step_seconds / 1e9,
        "ideal_gflops": flops / ideal / 1e9,
        "fraction_of_ideal": ideal / step_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    rows = [measure(d_model, n_layers) for d_model, n_layers in SHAPES.items()]
    if parser.parse_args().json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print("  ".join(f"{name} {value:.4g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
