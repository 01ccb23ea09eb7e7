"""Evaluating against training: token rates of perplexity and of the training loss's forward pass.

    python benchmarks/experiments/perplexity.py [--tokens 1000000]

Both read the same tokens on the same model, in the same process, by turns: training's forward pass in the
batches of a training step, as compiled in the training loop (token losses, without gradient); perplexity with
everything `isoflop evaluate` does from the opened checkpoint on, its answers written to disk.
"""

import argparse
import os
import tempfile
import time
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np

import models
from experiments.data import batches
from experiments.data.vocab import ByteVocab
from experiments.evaluate.language_modelling.perplexity import summarise
from experiments.evaluate.language_modelling.text_score import cached_losses
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText
from experiments.training import loss
from models import ladder

SEQ_LEN, BATCH = 128, 64
WIDTHS = (32, 64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    vocab, rng = ByteVocab(), np.random.default_rng(0)
    tokens = rng.integers(3, vocab.size, arguments.tokens + 1).astype(np.uint16)
    offsets = np.arange(1, len(tokens) + 1, 1000)
    tokens[offsets[1:] - 1] = vocab.eos_id
    text = TokenizedText(tokens[: offsets[-1]], offsets)
    device = jax.devices()[0].device_kind
    print(f"{len(text.tokens):,} tokens, context {SEQ_LEN}, {device}, medians of {arguments.turns} turns")
    for width in WIDTHS:
        model = models.build(ladder(width, vocab.size))
        params = jax.jit(model.init)(jax.random.key(0))
        rates = {"training": [], "perplexity": []}
        for turn in range(arguments.turns + 1):
            for name, run in (("training", training), ("perplexity", evaluation)):
                began = time.perf_counter()
                n = run(model, params, text, vocab)
                if turn:  # the first compiles
                    rates[name].append(n / (time.perf_counter() - began))
        share = np.median(np.divide(rates["perplexity"], rates["training"]))
        words = ", ".join(f"{name} {np.median(found):,.0f} tokens/s" for name, found in rates.items())
        print(f"N {models.count(model.config).n_params:,}: {words}: {share:.0%}", flush=True)


def training(model, params, text: TokenizedText, vocab) -> int:
    """The forward pass of training over the whole text; returns the tokens predicted."""
    n_batches = (len(text.tokens) - 1) // (SEQ_LEN * BATCH)
    total = 0.0
    for step in range(n_batches):
        windows = np.arange(step * BATCH, (step + 1) * BATCH)
        total += forward(model, params, batches.take_windows(text.tokens, windows, SEQ_LEN))
    jax.block_until_ready(total)
    return n_batches * BATCH * SEQ_LEN


def evaluation(model, params, text: TokenizedText, vocab) -> int:
    """Perplexity of the whole text with intervals, from a fresh log; returns the tokens predicted."""
    loaded: Any = SimpleNamespace(model=model, params=params)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ISOFLOP_CACHE"] = folder
        nats = cached_losses("benchmark", lambda: loaded, text.tokens, SEQ_LEN)
        return summarise(nats, text, vocab, SEQ_LEN).n_tokens


forward = jax.jit(
    lambda model, params, tokens_BT: loss.token_losses(model, params, tokens_BT)[0].mean(), static_argnums=0
)

if __name__ == "__main__":
    main()
