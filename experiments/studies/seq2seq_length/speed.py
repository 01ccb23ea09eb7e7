"""A training step against length, for an RNN and a transformer of equal FLOPs: its time on this machine, and
how many matrix products must wait for one another on any.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd
from jax.extend.core import Var, jaxprs_in_params

import models
from experiments.training.loss import training_loss
from models import EncDecConfig, ModelConfig, RNNConfig

RNN, TRANSFORMER = "RNN", "transformer"
D_HEAD = 32


def equal_transformer(rnn: RNNConfig, length: int) -> EncDecConfig:
    """The encoder–decoder transformer of the RNN's width, with one block a side, whose feed-forward width
    makes the FLOPs of a pair of `length` tokens a side those of the RNN.

    Raises:
      ValueError: the length leaves no feed-forward layer.
    """
    v, d = rnn.vocab_size, rnn.d_model

    def transformer(d_ff: int) -> EncDecConfig:
        return EncDecConfig(v, d, 1, 1, d // D_HEAD, D_HEAD, d_ff)

    def flops(config: ModelConfig) -> int:
        return models.count(config).flops_per_token(2 * length)

    least, slope = flops(transformer(1)), flops(transformer(2)) - flops(transformer(1))
    d_ff = 1 + round((flops(rnn) - least) / slope)
    if d_ff < 1:
        raise ValueError(
            f"length {length}: attention alone takes more FLOPs than an RNN of d_model={d}, "
            f"n_layers={rnn.n_layers}; give shorter lengths, or a larger RNN"
        )
    return transformer(d_ff)


def measure_speed(rnn: RNNConfig, lengths: Sequence[int], step_tokens: int, repeats: int) -> pd.DataFrame:
    """A row for each network and length: seconds of a training step on `step_tokens` tokens, sources and
    targets together, in ever fewer rows of ever greater length; median, fastest and slowest of the repeats.

    Args:
      rnn: the recurrent network; the transformer has equal FLOPs.
      lengths: symbols of the source.
      step_tokens: of a step.
      repeats: timed steps.
    """
    rows = []
    for length in lengths:
        n_rows = step_tokens // (2 * length)
        tokens_BT = jax.random.randint(jax.random.key(0), (n_rows, 2 * length + 1), 0, rnn.vocab_size)
        configs: dict[str, ModelConfig] = {RNN: rnn, TRANSFORMER: equal_transformer(rnn, length)}
        runs = {name: start_training(config, tokens_BT) for name, config in configs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(repeats):  # in turns, so that what else the machine does meets both
            for name, run in runs.items():
                seconds[name].append(run())
        for name, config in configs.items():
            counts = models.count(config)
            rows.append(
                {
                    "network": name,
                    "length": length,
                    "rows": n_rows,
                    "n_params": counts.n_params,
                    "products_in_line": products_in_line(config, length),
                    "flops": 2 * length * n_rows * counts.flops_per_token(2 * length),
                    "seconds": float(np.median(seconds[name])),
                    "lo": min(seconds[name]),
                    "hi": max(seconds[name]),
                }
            )
    return pd.DataFrame(rows)


def start_training(config: ModelConfig, tokens_BT: jax.Array) -> Callable[[], float]:
    """A compiled and warm training step; every call takes one and returns its seconds."""
    model, optimizer = models.build(config), optax.adam(1e-3)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(gradient(config, params, tokens_BT), state, params)
        return optax.apply_updates(params, updates), state

    params = jax.jit(model.init)(jax.random.key(0))
    held = [jax.block_until_ready(step(params, optimizer.init(params)))]

    def run() -> float:
        since = time.perf_counter()
        held[0] = jax.block_until_ready(step(*held[0]))
        return time.perf_counter() - since

    return run


def gradient(config: ModelConfig, params: Any, tokens_BT: jax.Array) -> Any:
    """The gradient of the training loss."""
    loss = functools.partial(training_loss, models.build(config))
    return jax.grad(loss, has_aux=True)(params, tokens_BT)[0]


def products_in_line(config: ModelConfig, length: int) -> int:
    """The longest chain of matrix products in a gradient's program, each of which needs the one before: what
    no number of processors shortens.
    """
    params = jax.eval_shape(models.build(config).init, jax.random.key(0))
    tokens_BT = jax.ShapeDtypeStruct((1, 2 * length + 1), np.int32)
    program = jax.make_jaxpr(functools.partial(gradient, config))(params, tokens_BT).jaxpr
    return max(_depths(program, [0] * len(program.invars)))


def _depths(program: Any, inputs: list[int]) -> list[int]:
    """Products in line before each output is there, given those before each input is."""
    depth = dict(zip(program.invars, inputs))

    def before(variables: Any) -> list[int]:
        return [depth.get(v, 0) if isinstance(v, Var) else 0 for v in variables]

    for equation in program.eqns:
        reads, inner = before(equation.invars), next(jaxprs_in_params(equation.params), None)
        if equation.primitive.name == "scan":
            writes = _scan_depths(equation, inner, reads)
        elif inner is not None:
            writes = _depths(inner, reads)
        else:
            deepest = max(reads, default=0) + (equation.primitive.name == "dot_general")
            writes = [deepest] * len(equation.outvars)
        depth.update(zip(equation.outvars, writes))
    return before(program.outvars)


def _scan_depths(equation: Any, inner: Any, reads: list[int]) -> list[int]:
    """The same for a scan, whose carry goes from step to step; inputs are fixed ones, carry, one a step."""

    def alike(outer: Any, inner: Any) -> int:
        return sum(a.aval.shape == b.aval.shape for a, b in zip(outer, inner))

    # What is not one a step has the same shape inside and outside.
    n_carried, n_whole = alike(equation.outvars, inner.outvars), alike(equation.invars, inner.invars)
    writes: list[int] = []
    for _ in range(equation.params["length"]):
        writes = _depths(inner, reads)
        reads = reads[: n_whole - n_carried] + writes[:n_carried] + reads[n_whole:]
    return writes
