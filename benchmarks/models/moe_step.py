"""Time of a training step of a mixture of experts over that of the dense model with equal active FLOPs.

    python -m benchmarks.models.moe_step [--json]

Both models have width 256, 6 layers and 8 rows of 256 tokens in float32; 8 experts of half the dense
feed-forward width, two for each token. `ratio` is the median over rounds in which the two take turns, so a
busy machine slows both. The optimizer's update counts: the experts have four times the parameters.
"""

import argparse
import json
import time

import numpy as np

from benchmarks.experiments.stepper import stepper
from models import Experts, TransformerConfig, count

D_FF, BATCH, SEQ_LEN, ROUNDS, STEPS = 688, 8, 256, 9, 3
DENSE = TransformerConfig(256, 256, 6, n_heads=4, n_kv_heads=4, d_head=64, d_ff=D_FF)
MODELS = {
    "dense": DENSE,
    "capacity": TransformerConfig(**vars(DENSE) | {"family": "moe", "experts": Experts(8, 2, D_FF // 2)}),
    "dropless": TransformerConfig(
        **vars(DENSE) | {"family": "moe", "experts": Experts(8, 2, D_FF // 2, dispatch="dropless")}
    ),
}


def measure() -> dict[str, dict[str, float]]:
    """Per model: median milliseconds of a step, and of its ratio to the dense step of the same round."""
    steppers = {name: stepper(model, BATCH, SEQ_LEN) for name, model in MODELS.items()}
    rounds = []
    for _ in range(ROUNDS):
        times = {}
        for name, step in steppers.items():
            began = time.perf_counter()
            for _ in range(STEPS):
                step().block_until_ready()
            times[name] = (time.perf_counter() - began) / STEPS
        rounds.append(times)
    return {
        name: {
            "step_ms": 1e3 * float(np.median([times[name] for times in rounds])),
            "ratio": float(np.median([times[name] / times["dense"] for times in rounds])),
            "active_gflop_a_step": BATCH * SEQ_LEN * count(model).flops_per_token(SEQ_LEN) / 1e9,
            "n_total": count(model).n_total,
        }
        for name, model in MODELS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json, rows = parser.parse_args().json, measure()
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for name, row in rows.items():
            print(f"{name:9}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))


if __name__ == "__main__":
    main()
