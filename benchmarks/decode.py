"""Tokens a second of sampling, and how near that is to streaming the weights through matrix products.

    python -m benchmarks.decode [--family transformer] [--json]

A model of about 30M parameters (8 layers, width 512, vocabulary 8192, float32), prompts of 32 tokens, 128 new
tokens, both cores. `bound` is the time of one step's matrix products alone, as one jitted program.
"""

import argparse
import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import models
from models.decoding.sample import Settings, sample
from models.presets import ladder
from models.published import llama

PROMPT, NEW, VOCABULARY = 32, 128, 8192


def network(family: str):
    if family == "transformer":
        return llama(512, 8, 8, 1376, VOCABULARY)
    return ladder(512, VOCABULARY, family, n_layers=8)


def tokens_per_second(model: models.Model, params, batch: int) -> float:
    """Sampled tokens a second at temperature 1, all rows to their full length, prefill included."""
    prompts = np.random.default_rng(0).integers(0, VOCABULARY, (batch, PROMPT)).tolist()
    run = functools.partial(
        sample, model, params, prompts, range(batch), Settings(), max_tokens=NEW, eos_id=VOCABULARY
    )
    run()
    rounds = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        rounds.append(batch * NEW / (time.perf_counter() - began))
    return float(np.median(rounds))


def bound(params, batch: int) -> float:
    """Tokens a second if a step were nothing but its rows times each weight matrix."""
    matrices = [leaf for leaf in jax.tree.leaves(params["blocks"]) if leaf.ndim >= 3]
    flat = [m.reshape(m.shape[0] * m.shape[1], -1) for m in matrices] + [params["ends"]["head"]]

    @jax.jit
    def stream(weights):
        return sum((jnp.ones((batch, w.shape[0])) @ w).sum() for w in weights)

    stream(flat).block_until_ready()
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        stream(flat).block_until_ready()
        n += 1
    return batch * n / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", default="transformer")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = models.build(network(arguments.family))
    params = jax.jit(model.init)(jax.random.key(0))
    rows = []
    for batch in (1, 8, 32):
        row = {"batch": batch, "tokens_per_second": tokens_per_second(model, params, batch)}
        if arguments.family == "transformer":
            row["bound"] = bound(params, batch)
            row["fraction"] = row["tokens_per_second"] / row["bound"]
        rows.append(row)
    print(json.dumps(rows, indent=1) if arguments.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
