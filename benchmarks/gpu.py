"""All that is worth measuring in the first hour with a card, in eight minutes.

    python -m benchmarks.gpu [--tiny] [--out FILE.json]

How fast a training step is (dense, mixture of experts, RWKV-7), decoding, and runs packed into one program;
whether the fused attention equals the plain one; whether training in bfloat16 ends where float32 does, within
the noise of seeds. A line a measurement, as soon as it is made. What does not begin within eight minutes is
left out, and said. `--tiny` makes the same measurements of tiny models, on any device: it tests this file.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import models
from benchmarks.experiments.stepper import run_config, stepper
from benchmarks.experiments.train_step import PEAKS, seconds
from benchmarks.models import decode
from experiments.training import optim
from experiments.training.train import training_functions
from models import Experts, ladder
from models.configs.published import PUBLISHED, llama
from models.layers.attention import Attention, causal_mask, kernels
from models.layers.positions import rope_tables
from models.parameters import functional

LIMIT = 480.0  # seconds
SEEDS = (0, 1, 2)


def networks(tiny: bool) -> dict[str, tuple[Any, int, int]]:
    """Configuration, rows and tokens a row of each training step, in bfloat16."""
    dense: Any
    if tiny:
        dense, seq_len = llama(64, 2, 2, 128, 256), 64
        shapes: dict[str, Any] = {"dense": (dense, 2), "rwkv7": (ladder(64, 256, "rwkv7"), 2)}
    else:
        dense, seq_len = PUBLISHED["llama-125m"], 2048
        shapes = {"llama-125m": (dense, 16), "llama-350m": (PUBLISHED["llama-350m"], 8)}
        shapes["llama-1b"] = dataclasses.replace(PUBLISHED["llama-1b"], remat=True), 4  # type: ignore[type-var]
        shapes["rwkv7-436m"] = ladder(1024, 16_000, "rwkv7"), 4
    for dispatch in ("capacity", "dropless"):
        experts = Experts(8, 2, dense.d_ff // 2, dispatch=dispatch)
        shapes[f"8 experts, {dispatch}"] = dataclasses.replace(dense, family="moe", experts=experts), 8
    return {
        name: (dataclasses.replace(config, dtype="bfloat16"), rows, seq_len)
        for name, (config, rows) in shapes.items()
    }


def step_of(config: Any, rows: int, seq_len: int, spent: float) -> dict[str, Any]:
    """Time of a training step, and the share of the card's peak that its counted FLOPs are."""
    step, counts = seconds(stepper(config, rows, seq_len), spent), models.count(config)
    flops = rows * seq_len * counts.flops_per_token(seq_len)
    kind = jax.devices()[0].device_kind
    peak = next((value for card, value in PEAKS.items() if card in kind), None)
    return {
        "n_active": counts.n_active,
        "step_ms": 1e3 * step,
        "tokens_per_second": rows * seq_len / step,
        "mfu": flops / step / peak if peak else None,
        "peak_gib": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30,
    }


def decoding(config: Any, batch: int) -> dict[str, Any]:
    """Tokens a second of sampling, prefill included."""
    model = models.build(config)
    params = jax.jit(model.init)(jax.random.key(0))
    return decode.tokens_per_second(batch, {"tokens_per_second": decode.sampler(model, params, batch)})


def packing(config: Any, n_runs: int, rows: int, seq_len: int) -> dict[str, Any]:
    """Steps a second of runs in one program, over those of one run alone."""

    def steps_per_second(n: int) -> float:
        runs = [dataclasses.replace(run_config(config, rows, seq_len), seed=seed) for seed in range(n)]
        compiled = training_functions(config, "adamw", "wsd", None, n)
        hyper = {name: jnp.asarray(x) for name, x in optim.stacked_hyperparameters(runs).items()}
        state = compiled.stack(compiled.init(jax.random.key(run.seed)) for run in runs)
        tokens = jax.random.randint(jax.random.key(1), (rows, seq_len + 1), 0, config.vocab_size)
        batch = jnp.stack([tokens] * n) if n > 1 else tokens
        held = [*state, jnp.int32(0)]

        def step() -> jax.Array:
            *held[:], measured = compiled.step(*held, batch, hyper, {})
            return measured["loss"]

        return n / seconds(step, 1.0)

    alone = steps_per_second(1)
    return {"alone": alone, "packed": (packed := steps_per_second(n_runs)), "ratio": packed / alone}


def flash_equals_plain(n_heads: int, d_head: int, seq_len: int) -> dict[str, Any]:
    """Relative errors of output and gradients against float32, with the kernel, if one fits, and without."""
    d = n_heads * d_head
    init, bind, _ = functional(
        lambda keys: Attention(keys, d, n_heads, n_heads, d_head, scale=d_head**-0.5, output_std=d**-0.5)
    )
    params, x = jax.jit(init)(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, seq_len, d))
    tables, mask = rope_tables(jnp.arange(seq_len)[None], d_head, 1e4), causal_mask(seq_len)

    def outputs(dtype: Any, window: int | None) -> list[np.ndarray]:
        @jax.jit
        def run(params, x):
            def loss(params, x):
                y = bind(params)(x.astype(dtype), tables, mask, window)[0].astype(jnp.float32)
                return (y * jnp.cos(jnp.arange(d))).sum(), y

            gradients, y = jax.grad(loss, (0, 1), has_aux=True)(params, x)
            return y, gradients

        return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(run(params, x))]

    exact = outputs(jnp.float32, None)

    def error(found: list[np.ndarray]) -> float:
        return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found, exact))

    q = jax.ShapeDtypeStruct((2, seq_len, n_heads, d_head), jnp.bfloat16)
    fused, plain = error(outputs(jnp.bfloat16, 0)), error(outputs(jnp.bfloat16, None))
    why = kernels.missing(q, q, 0.0)
    return {"kernel": not why, "why_not": why, "fused": fused, "plain": plain, "holds": fused < 1.5 * plain}


def same_curve(config: Any, n_steps: int, rows: int, seq_len: int) -> dict[str, Any]:
    """Losses at the end of training in both types, by seed: do the means differ by more than chance?"""
    transitions = 2 * jax.random.normal(jax.random.key(7), (config.vocab_size, config.vocab_size))

    @jax.jit
    def batch(key: jax.Array) -> jax.Array:
        def following(token_B, key):
            return (drawn_B := jax.random.categorical(key, transitions[token_B])), drawn_B

        first_B = jax.random.randint(key, (rows,), 0, config.vocab_size)
        return jax.lax.scan(following, first_B, jax.random.split(key, seq_len + 1))[1].T.astype(jnp.int32)

    def last_losses(dtype: str) -> list[float]:
        typed = dataclasses.replace(config, dtype=dtype)
        compiled = training_functions(typed, "adamw", "wsd")
        hyper = optim.hyperparameters(
            dataclasses.replace(run_config(typed, rows, seq_len), n_tokens=n_steps * rows * seq_len)
        )
        found = []
        for seed in SEEDS:
            state, losses = [*compiled.init(jax.random.key(seed)), jnp.int32(0)], []
            for step in range(n_steps):
                *state[:], measured = compiled.step(*state, batch(jax.random.key(step)), hyper)
                losses.append(measured["loss"])
            found.append(float(jnp.mean(jnp.stack(losses[-n_steps // 5 :]))))
        return found

    exact, half = last_losses("float32"), last_losses("bfloat16")
    noise = 3 * float(np.hypot(np.std(exact, ddof=1), np.std(half, ddof=1))) / len(SEEDS) ** 0.5
    difference = float(np.mean(half) - np.mean(exact))
    return {"float32": exact, "bfloat16": half, "difference": difference, "noise": noise} | {
        "holds": abs(difference) < max(noise, 2e-3 * float(np.mean(exact)))
    }


def measurements(tiny: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Their names, and calls that make them, what matters most first."""
    small = llama(64, 2, 2, 128, 256) if tiny else llama(512, 8, 8, 1376, 8192)
    yield (
        "fused attention = plain",
        lambda: flash_equals_plain(2, 16, 64) if tiny else flash_equals_plain(16, 128, 2048),
    )
    for name, (config, rows, seq_len) in networks(tiny).items():
        yield f"step, {name}", lambda c=config, r=rows, t=seq_len: step_of(c, r, t, 0.2 if tiny else 2.0)
    yield (
        "bfloat16 curve = float32",
        lambda: same_curve(small, 20 if tiny else 300, 4 if tiny else 32, 32 if tiny else 256),
    )
    for batch in (2,) if tiny else (1, 32, 256):
        yield (
            f"decoding, {batch} rows",
            lambda b=batch: decoding(dataclasses.replace(small, vocab_size=8192, dtype="bfloat16"), b),
        )
    n_runs = 2 if tiny else 16
    packed = small if tiny else ladder(128, 259)
    yield f"packing, {n_runs} runs", lambda: packing(packed, n_runs, 4, 32 if tiny else 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny models, on any device")
    parser.add_argument("--out", type=Path, help="JSON file for all numbers")
    arguments = parser.parse_args()
    device, began, found = jax.devices()[0], time.perf_counter(), {}
    if device.platform == "cpu" and not arguments.tiny:
        parser.error("no card here; --tiny runs the same measurements of tiny models")
    print(f"{device.device_kind}, jax {jax.__version__}")
    for name, measure in measurements(arguments.tiny):
        if time.perf_counter() - began > LIMIT and not arguments.tiny:
            print(f"{name:<28} left out: {LIMIT:.0f} s are over")
            continue
        try:
            found[name] = measure()
        except Exception as error:  # the other measurements are worth having
            found[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
        words = "  ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found[name].items()
        )
        print(f"{name:<28} {words}  ({time.perf_counter() - began:.0f} s)", flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps({"device": device.device_kind, "found": found}, indent=1))


if __name__ == "__main__":
    main()
