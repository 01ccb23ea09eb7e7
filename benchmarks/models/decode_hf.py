"""Tokens a second of sampling against Hugging Face's `generate`, on the same weights in the same run.

    pip install -e .[hf]
    python -m benchmarks.models.decode_hf [--json]

The model and the sizes of `benchmarks.models.decode`; our weights exported by `models.hf` and read by
transformers, and ours again with weights of 8 bits (`int8`);
all sample at temperature 1 from all of the vocabulary, with a cache, on as many threads as there are cores.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import torch
from transformers import AutoModelForCausalLM

import models
from benchmarks.models.decode import (
    BATCHES,
    NEW,
    matrix_products,
    network,
    prompts,
    sampler,
    tokens_per_second,
)
from models import hf
from models.decoding.prefill import packed


def exported(config, params):
    """The same network in transformers, to be run as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "llama"
        hf.save(config, params, path)
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def generator(network, batch: int) -> Callable:
    """`generate`, all rows to their full length."""
    ids = torch.tensor(prompts(batch))
    asked = {"do_sample": True, "top_k": 0, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0}

    def run():
        with torch.inference_mode():
            out = network.generate(ids, attention_mask=torch.ones_like(ids), use_cache=True, **asked)
        assert out.shape == (batch, ids.shape[1] + NEW), out.shape

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = network("transformer")
    model = models.build(config)
    params = jax.jit(model.init)(jax.random.key(0))
    theirs, exact, int8 = exported(config, params), packed(model, params), packed(model, params, "int8")
    rows = []
    for batch in BATCHES:
        sides = {"ours": sampler(model, exact, batch), "int8": sampler(model, int8, batch)}
        sides |= {"generate": generator(theirs, batch), "bound": matrix_products(params, batch)}
        row = {"batch": batch} | tokens_per_second(batch, sides)
        ratios = {f"{name}_ratio": row[name] / row["generate"] for name in ("ours", "int8")}
        rows.append(row | ratios | {"fraction": row["ours"] / row["bound"]})
    print(json.dumps(rows, indent=1) if arguments.json else "\n".join(map(str, rows)))


if __name__ == "__main__":
    main()
