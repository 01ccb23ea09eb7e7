"""Tokens a second of sampling, and how near that is to streaming the weights through matrix products.

    python -m benchmarks.models.decode [--family transformer] [--json]

A model of about 30M parameters (8 layers, width 512, vocabulary 8192, float32), prompts of 32 tokens, 128 new
tokens, both cores. `bound` is one step's matrix products alone, as one jitted program.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import models
from models import ladder
from models.configs.published import llama
from models.decoding.prefill import packed
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.model import Model

PROMPT, NEW, VOCABULARY, BATCHES, ROUNDS = 32, 128, 8192, (1, 8, 32), 5


def network(family: str):
    if family == "transformer":
        return llama(512, 8, 8, 1376, VOCABULARY)
    return ladder(512, VOCABULARY, family, n_layers=8)


def prompts(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCABULARY, (batch, PROMPT))


def sampler(model: Model, params, batch: int) -> Callable:
    """Samples at temperature 1, all rows to their full length, prefill included."""
    return functools.partial(
        *(sample, model, params, prompts(batch).tolist(), range(batch), SamplingSettings()),
        max_tokens=NEW,
        eos_id=VOCABULARY,
    )


def matrix_products(params, batch: int) -> Callable:
    """As many steps as there are new tokens, each nothing but the rows times each weight matrix."""
    matrices = [leaf for leaf in jax.tree.leaves(params["blocks"]) if leaf.ndim >= 3]
    flat = [m.reshape(m.shape[0] * m.shape[1], -1) for m in matrices] + [params["ends"]["head"]]

    @jax.jit
    def step(weights):
        return sum((jnp.ones((batch, w.shape[0])) @ w).sum() for w in weights)

    return lambda: [step(flat).block_until_ready() for _ in range(NEW)]


def tokens_per_second(batch: int, sides: dict[str, Callable]) -> dict[str, float]:
    """The median over rounds in which the sides take turns, so that a busy machine is busy for all."""
    seconds = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(ROUNDS):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: batch * NEW / float(np.median(each)) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", default="transformer")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = models.build(network(arguments.family))
    params = packed(model, jax.jit(model.init)(jax.random.key(0)))
    rows = []
    for batch in BATCHES:
        sides = {"tokens_per_second": sampler(model, params, batch)}
        if arguments.family == "transformer":
            sides["bound"] = matrix_products(params, batch)
        row = {"batch": batch} | tokens_per_second(batch, sides)
        if "bound" in row:
            row["fraction"] = row["tokens_per_second"] / row["bound"]
        rows.append(row)
    print(json.dumps(rows, indent=1) if arguments.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
