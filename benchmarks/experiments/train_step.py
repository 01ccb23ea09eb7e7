"""How fast the training step is, and where its time goes.

    python -m benchmarks.experiments.train_step [--device cpu|gpu] [--json]

On a CPU: float32 models of three widths, 8 rows of 256 tokens, against the matrix products of a step as plain
jitted calls in the same process (`fraction`), then the step's parts, each compiled and timed alone.
On a GPU: bfloat16 models of 125M, 350M and 1.3B parameters and a mixture of 8 experts at 2048 tokens, as a
share of the matrix units' peak (`mfu`); FLOPs are counted, attention over all keys, no recomputation.
"""

import argparse
import dataclasses
import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import models
from benchmarks.experiments.stepper import run_config, stepper
from experiments.training import optim
from experiments.training.loss import training_loss
from models import Experts, TransformerConfig
from models.configs.published import PUBLISHED
from models.families import transformer
from models.layers.attention import causal_mask
from models.layers.positions import rope_tables
from models.parameters import functional

CPU_SHAPES = {128: 4, 256: 6, 512: 8}  # width: layers
CPU_BATCH, CPU_LEN = 8, 256
GPU_ROWS = {"llama-125m": 16, "llama-350m": 8, "llama-1b": 4, "moe-8x125m": 8}
GPU_LEN = 2048
# Dense bfloat16 FLOP/s of the data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}


def seconds(call, at_least: float = 2.0) -> float:
    """Time of one call: the median of five rounds."""
    jax.block_until_ready(call())
    rounds = []
    for _ in range(5):
        n, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < at_least / 5:
            jax.block_until_ready(call())
            n += 1
        rounds.append(spent / n)
    return float(np.median(rounds))


def step_seconds(model: TransformerConfig, batch: int, seq_len: int) -> float:
    """Time of one whole training step with AdamW."""
    return seconds(stepper(model, batch, seq_len), 5.0)


def ideal_seconds(config: TransformerConfig, batch: int, seq_len: int) -> float:
    """Time of all matrix products of a training step as plain jitted calls, layer after layer."""
    tokens, d, f = batch * seq_len, config.d_model, config.d_ff
    heads, k = config.n_heads, config.d_head
    a = heads * k
    layer = [(d, a)] * 3 + [(a, d)] + [(d, f)] * 2 + [(f, d)]
    product = jax.jit(jnp.matmul)
    total = 0.0
    for inputs, outputs in {*layer, (d, config.vocab_size)}:
        times = layer.count((inputs, outputs)) * config.n_layers or 1
        x, w = jnp.ones((tokens, inputs)), jnp.ones((inputs, outputs))
        dy = jnp.ones((tokens, outputs))
        for one, other in ((x, w), (dy, w.T + 0), (x.T + 0, dy)):
            total += times * seconds(functools.partial(product, one, other), 0.25)
    q, scores = jnp.ones((batch, heads, seq_len, k)), jnp.ones((batch, heads, seq_len, seq_len))
    for one, other, times in ((q, q.swapaxes(2, 3) + 0, 2), (scores, q, 4)):
        total += times * config.n_layers * seconds(functools.partial(product, one, other), 0.25)
    return total


def parts_ms(config: TransformerConfig, batch: int, seq_len: int) -> dict[str, float]:
    """Milliseconds of each part, forward and backward, all layers, each compiled alone."""
    key = jax.random.key(0)
    x_BTD = jax.random.normal(key, (batch, seq_len, config.d_model))
    tables = rope_tables(jnp.arange(seq_len)[None], config.d_head, config.rope_theta)
    mask = causal_mask(seq_len)

    def module_ms(make, call) -> float:
        init, bind, _ = functional(make)
        backward = jax.jit(jax.grad(lambda p, x: call(bind(p), x).sum(), (0, 1)))
        return config.n_layers * 1e3 * seconds(functools.partial(backward, init(key), x_BTD), 1.0)

    model = models.build(config)
    params = jax.jit(model.init)(key)
    tokens_BT = jax.random.randint(key, (batch, seq_len + 1), 0, config.vocab_size)
    loss = jax.jit(jax.grad(lambda p: training_loss(model, p, tokens_BT)[0]))
    hyper = optim.hyperparameters(run_config(config, batch, seq_len))
    opt_state = optim.init_state("adamw", model, params)
    update = jax.jit(optim.optimizer("adamw", model, hyper, hyper["lr"]).update)
    one_layer = models.build(dataclasses.replace(config, n_layers=1))
    head = jax.jit(jax.grad(lambda p, x: jax.nn.logsumexp(one_layer.logits(p, x), axis=-1).mean(), (0, 1)))
    return {
        "attention": module_ms(
            lambda k: transformer.attention(config, k), lambda m, x: m(x, tables, mask, 0)[0]
        ),
        "feed_forward": module_ms(lambda k: transformer.feed_forward(config, k), lambda m, x: m(x)[0]),
        "head_and_loss": 1e3 * seconds(functools.partial(head, params, x_BTD), 1.0),
        "whole_gradient": 1e3 * seconds(functools.partial(loss, params), 2.0),
        "optimizer": 1e3 * seconds(functools.partial(update, params, opt_state, params), 1.0),
    }


def measure_cpu(d_model: int, n_layers: int) -> dict:
    heads = d_model // 64
    config = TransformerConfig(256, d_model, n_layers, heads, heads, 64, d_model * 8 // 3)
    step, ideal = step_seconds(config, CPU_BATCH, CPU_LEN), ideal_seconds(config, CPU_BATCH, CPU_LEN)
    tokens, counts = CPU_BATCH * CPU_LEN, models.count(config)
    flops = tokens * counts.flops_per_token(CPU_LEN)
    parts = parts_ms(config, CPU_BATCH, CPU_LEN)
    return {
        "d_model": d_model,
        "step_ms": 1e3 * step,
        "tokens_per_second": tokens / step,
        "gflops_counted": flops / step / 1e9,
        "gflops_6n": 6 * counts.n_params * tokens / step / 1e9,
        "ideal_gflops": flops / ideal / 1e9,
        "fraction": ideal / step,
        **parts,
        "norms_residuals_copies": parts["whole_gradient"]
        - sum(parts[name] for name in ("attention", "feed_forward", "head_and_loss")),
    }


def measure_gpu(name: str, rows: int) -> dict:
    if name == "moe-8x125m":
        dense = PUBLISHED["llama-125m"]
        experts = Experts(8, 2, dense.d_ff // 2)
        config = dataclasses.replace(dense, family="moe", experts=experts)
    else:
        config = PUBLISHED[name]
    config = dataclasses.replace(config, dtype="bfloat16", remat=name == "llama-1b")
    step, counts = step_seconds(config, rows, GPU_LEN), models.count(config)
    flops = rows * GPU_LEN * counts.flops_per_token(GPU_LEN)
    kind = jax.devices()[0].device_kind
    peak = next((value for card, value in PEAKS.items() if card in kind), float("nan"))
    return {
        "model": name,
        "n_params": counts.n_params,
        "n_active": counts.n_active,
        "rows": rows,
        "step_ms": 1e3 * step,
        "tokens_per_second": rows * GPU_LEN / step,
        "tflops": flops / step / 1e12,
        "mfu": flops / step / peak,
        "peak_gib": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30,
        "device": kind,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[arguments.device])
    if arguments.device == "cpu":
        rows = [measure_cpu(d_model, n_layers) for d_model, n_layers in CPU_SHAPES.items()]
    else:
        rows = [measure_gpu(name, n_rows) for name, n_rows in GPU_ROWS.items()]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
