"""Time of a training step of RWKV-4 and RWKV-7 over a transformer's, and of a decoding step far into a text.

    python -m benchmarks.models.rwkv_step [--json]

Training: the ladder's models of width 256, whose parameters are equal, on 2 rows of 1024 tokens in float32.
Decoding: the time of one step after 10,000 tokens over that after 10, for a batch of 1. `ratio` is the median
over rounds in which the models, or the two places, take turns, so a busy machine slows both.
"""

import argparse
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import models
from benchmarks.experiments.stepper import stepper
from models import count, ladder

FAMILIES = ("transformer", "rwkv4", "rwkv7")
D_MODEL, VOCAB, BATCH, SEQ_LEN, ROUNDS = 256, 256, 2, 1024, 7
NEAR, FAR, DECODE_STEPS = 10, 10_000, 50


def decoding_steps(family: str, length: int) -> Callable[[], jax.Array]:
    """A call that decodes some tokens after a text of `length`, compiled already; gives the last logits."""
    model = models.build(ladder(D_MODEL, VOCAB, family))
    params = jax.jit(model.init)(jax.random.key(0))
    tokens_BT = jax.random.randint(jax.random.key(1), (1, length), 0, VOCAB)
    prefill, decode = jax.jit(model.prefill, static_argnums=3), jax.jit(model.decode)
    _, cache = prefill(params, tokens_BT, jnp.array([length]), length + DECODE_STEPS)

    def steps() -> jax.Array:
        state, logits_BV, token_B = cache, None, tokens_BT[:, 0]
        for _ in range(DECODE_STEPS):
            logits_BV, state = decode(params, token_B, state)
        return logits_BV

    steps().block_until_ready()
    return steps


def medians(calls: dict[str, Callable[[], jax.Array]], base: str, times: int = 1) -> dict[str, dict]:
    """Per call, median milliseconds of each of its `times` steps, and median ratio to the base's."""
    rounds = []
    for _ in range(ROUNDS):
        seconds = {}
        for name, call in calls.items():
            began = time.perf_counter()
            call().block_until_ready()
            seconds[name] = (time.perf_counter() - began) / times
        rounds.append(seconds)
    return {
        name: {
            "step_ms": 1e3 * float(np.median([seconds[name] for seconds in rounds])),
            "ratio": float(np.median([seconds[name] / seconds[base] for seconds in rounds])),
        }
        for name in calls
    }


def measure() -> dict[str, dict[str, float]]:
    training = medians(
        {family: stepper(ladder(D_MODEL, VOCAB, family), BATCH, SEQ_LEN) for family in FAMILIES}, FAMILIES[0]
    )
    for family, row in training.items():
        counts = count(ladder(D_MODEL, VOCAB, family))
        row["n_params"] = counts.n_params
        row["gflop_a_step"] = BATCH * SEQ_LEN * counts.flops_per_token(SEQ_LEN) / 1e9
    results = {f"train {family}": row for family, row in training.items()}
    for family in FAMILIES[1:]:
        places = {str(length): decoding_steps(family, length) for length in (NEAR, FAR)}
        for place, row in medians(places, str(NEAR), DECODE_STEPS).items():
            results[f"decode {family} at {place}"] = row
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    as_json, results = parser.parse_args().json, measure()
    if as_json:
        print(json.dumps(results, indent=1))
        return
    for name, row in results.items():
        print(f"{name:24}" + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))


if __name__ == "__main__":
    main()
