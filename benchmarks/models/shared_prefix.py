"""What it saves to read the common beginning of prompts once: sampling with and without, in turns.

    python -m benchmarks.models.shared_prefix [--json]

A model of about 30M parameters with random weights (8 layers, width 512, vocabulary 8192, float32), 16
prompts that begin with the same 128 or 512 tokens and go on for 8 to 32 of their own, 16 greedy tokens each.
Times are medians of rounds that alternate, reading and decoding together.
"""

import argparse
import json
import time

import jax
import numpy as np

import models
from models.configs.published import llama
from models.decoding.prefill import packed
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings

PROMPTS, NEW, VOCABULARY, ROUNDS = 16, 16, 8192, 3


def measure(model, params, n_common: int) -> dict[str, float]:
    """Seconds of both ways, and by how much what is said differs."""
    random = np.random.default_rng(0)
    common = random.integers(0, VOCABULARY, n_common).tolist()
    rests = [random.integers(0, VOCABULARY, random.integers(8, 33)).tolist() for _ in range(PROMPTS)]
    request = {"settings": SamplingSettings(temperature=0.0), "max_tokens": NEW, "eos_id": VOCABULARY}
    seconds, said = {False: [], True: []}, {}
    for number in range(ROUNDS + 1):
        for share in (False, True):
            began = time.perf_counter()
            prompts = [[*common, *rest] for rest in rests]
            groups = sample(model, params, prompts, range(PROMPTS), **request, share_prefix=share)
            said[share] = [group[0] for group in groups]
            if number:  # the first round compiles
                seconds[share].append(time.perf_counter() - began)
    off = [
        np.subtract(a.logprobs, b.logprobs) for a, b in zip(said[True], said[False]) if a.tokens == b.tokens
    ]
    return {
        "common_tokens": n_common,
        "whole_seconds": float(np.median(seconds[False])),
        "shared_seconds": float(np.median(seconds[True])),
        "ratio": float(np.median(seconds[False]) / np.median(seconds[True])),
        "same_texts": len(off) / PROMPTS,
        "logprobs_off_by": float(np.abs(off).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model = models.build(llama(512, 8, 8, 1376, VOCABULARY))
    params = packed(model, jax.jit(model.init)(jax.random.key(0)))
    for n_common in (128, 512):
        found = measure(model, params, n_common)
        words = " ".join(f"{name} {value:.4g}" for name, value in found.items())
        print(json.dumps(found) if arguments.json else words, flush=True)


if __name__ == "__main__":
    main()
