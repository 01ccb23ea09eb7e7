"""What continuous batching gains on answers of many lengths: one call for all prompts against one a batch.

    python -m benchmarks.models.continuous_batching [--json]

64 prompts of 8 to 64 tokens, 8 places, a transformer of width 256 with random weights. 2 % of the tokens end
an answer, so lengths are geometric, cut at 256. Both ways draw the same tokens; times are medians of rounds
that alternate.
"""

import argparse
import json
import time

import jax
import numpy as np

import models
from models.configs.published import llama
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.decoding.stop import StopCriteria

PROMPTS, WIDTH, VOCABULARY, ROUNDS = 64, 8, 8192, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = models.build(llama(256, 4, 4, 688, VOCABULARY))
    params = jax.jit(model.init)(jax.random.key(0))
    random = np.random.default_rng(0)
    prompts = [random.integers(0, VOCABULARY, random.integers(8, 65)).tolist() for _ in range(PROMPTS)]
    request = {
        "settings": SamplingSettings(),
        "max_tokens": 256,
        "eos_id": VOCABULARY,
        "stop": StopCriteria(tokens=tuple(range(VOCABULARY // 50))),
        "width": WIDTH,
    }

    def refilled():
        return sample(model, params, prompts, range(PROMPTS), **request)

    def batched():
        groups = []
        for i in range(0, PROMPTS, WIDTH):
            groups += sample(model, params, prompts[i : i + WIDTH], range(i, i + WIDTH), **request)
        return groups

    seconds, said = {"refilled": [], "batched": []}, {}
    for number in range(ROUNDS + 1):
        for way in (refilled, batched):
            began = time.perf_counter()
            said[way.__name__] = [group[0].tokens for group in way()]
            if number:  # the first round compiles
                seconds[way.__name__].append(time.perf_counter() - began)
    lengths = [len(tokens) for tokens in said["refilled"]]
    found = {f"{way}_seconds": float(np.median(each)) for way, each in seconds.items()}
    found["ratio"] = found["batched_seconds"] / found["refilled_seconds"]
    found |= {"tokens": sum(lengths), "median_length": float(np.median(lengths)), "longest": max(lengths)}
    found["same_tokens"] = float(np.mean([a == b for a, b in zip(said["refilled"], said["batched"])]))
    # Steps if each row of a batch waits for its longest, over steps if no place were ever empty.
    waits = sum(WIDTH * max(lengths[i : i + WIDTH]) for i in range(0, PROMPTS, WIDTH))
    found["best_ratio"] = waits / sum(lengths)
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(f"{k} {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()
