"""What it costs to cut the softmax: top-k, top-p and min-p, by the size of the vocabulary and the batch.

    python -m benchmarks.models.truncation [--json]

From logits to a drawn token, in two ways.

`least`: as little work as each needs, in numpy, a row after the other.
  softmax  exp of all V, and the draw among them
  top-k    a partial selection of k (introselect), then exp of k, and the draw among k
  top-p    exp of all V, sorted, summed up to p, and the draw among what is kept
  min-p    a threshold on logits, largest + log p, then exp of what is kept, and the draw among these
`ours`: `models.decoding.processors` and `draw` as one compiled program of all rows, in which each setting is
an input; a cut finds its threshold by 32 halvings of all V in the place of a selection or a sort.
`head` is the matrix product that makes the logits, of width 512. Logits are normal with standard deviation 3;
`kept` is the mean number of tokens that may be drawn, `exps` of which an exponential is taken by `least`.

Times are processor time of a call, the least of the rounds, in which the ways take turns.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import processors
from models.decoding.sampling_loop import draw

VOCABULARIES, BATCHES, WIDTH, SCALE = (1024, 32_768, 131_072), (1, 32), 512, 3.0
K, TOP_P, MIN_P, MANY = 40, 0.9, 0.05, 1_000_000
CUTS = {"softmax": {}, "top-k": {"top_k": K}, "top-p": {"top_p": TOP_P}, "min-p": {"min_p": MIN_P}}


def least(cut: str, logits_V: np.ndarray, uniform: float) -> tuple[int, int, int]:
    """(the token drawn, tokens kept, exponentials taken) of one row, by no more work than the cut needs.

    Args:
      cut: one of CUTS.
      logits_V: float32.
      uniform: from 0 to 1, the randomness.
    """
    kept = np.arange(len(logits_V))
    if cut == "top-k":
        kept = np.argpartition(logits_V, -K)[-K:]
    elif cut == "min-p":
        kept = np.flatnonzero(logits_V >= logits_V.max() + np.log(MIN_P))
    logits_N = logits_V if cut in ("softmax", "top-p") else logits_V[kept]
    weights_N = np.exp(logits_N - logits_N.max())
    n_exps = len(weights_N)
    if cut == "top-p":
        kept = np.argsort(weights_N)[::-1]
        sums_V = np.cumsum(weights_N[kept])
        kept = kept[: np.searchsorted(sums_V, TOP_P * sums_V[-1]) + 1]
        weights_N = weights_N[kept]
    sums_N = np.cumsum(weights_N)
    return int(kept[np.searchsorted(sums_N, uniform * sums_N[-1])]), len(kept), n_exps


@jax.jit
def ours(logits_BV: jax.Array, keys_B: jax.Array, settings: dict[str, jax.Array]) -> jax.Array:
    """The tokens drawn, int32[B]."""
    x_BV = processors.top_k(logits_BV, settings["top_k"])
    x_BV = processors.top_p(x_BV, settings["top_p"])
    x_BV = processors.min_p(x_BV, settings["min_p"])
    return draw(keys_B, jnp.zeros(len(logits_BV), jnp.int32), x_BV)


def fastest(ways: dict[str, Callable], n_rounds: int) -> dict[str, float]:
    """Microseconds of processor time of each way: the least of the rounds, in which they take turns."""
    best = dict.fromkeys(ways, np.inf)
    for run in ways.values():
        run()
    for _ in range(n_rounds):
        for name, run in ways.items():
            began = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - began)
    return {name: seconds * 1e6 for name, seconds in best.items()}


def measure(n_vocab: int, batch: int) -> dict[str, dict[str, float]]:
    """By cut: microseconds of `least` and `ours`, kept and exps of a row; and "head".

    Args:
      n_vocab: tokens.
      batch: rows.
    """
    rng = np.random.default_rng(0)
    logits_BV = (SCALE * rng.standard_normal((batch, n_vocab))).astype(np.float32)
    uniform_B, keys_B = rng.random(batch), jax.random.split(jax.random.key(0), batch)
    rows_BD, head_DV = jnp.ones((batch, WIDTH)), jnp.ones((WIDTH, n_vocab))
    on_device = jnp.asarray(logits_BV)
    product = jax.jit(jnp.matmul)
    ways: dict[str, Callable] = {"head": lambda: product(rows_BD, head_DV).block_until_ready()}
    found: dict[str, dict[str, float]] = {}
    for cut, chosen in CUTS.items():
        values = {"top_k": np.int32(0), "top_p": np.float32(1), "min_p": np.float32(0)}
        settings = {name: jnp.asarray(chosen.get(name, value), value.dtype) for name, value in values.items()}
        ways[f"{cut}/least"] = functools.partial(_rows, cut, logits_BV, uniform_B)
        ways[f"{cut}/ours"] = functools.partial(_wait, on_device, keys_B, settings)
        each = np.array(_rows(cut, logits_BV, uniform_B), float)
        found[cut] = {"kept": float(each[:, 1].mean()), "exps": float(each[:, 2].mean())}
    seconds = fastest(ways, n_rounds=4 if logits_BV.size > MANY else 20)
    for cut, row in found.items():
        row |= {name: seconds[f"{cut}/{name}"] for name in ("least", "ours")}
    return found | {"head": {"us": seconds["head"]}}


def _rows(cut: str, logits_BV: np.ndarray, uniform_B: np.ndarray) -> list[tuple[int, int, int]]:
    return [least(cut, row, float(uniform)) for row, uniform in zip(logits_BV, uniform_B)]


def _wait(logits_BV: jax.Array, keys_B: jax.Array, settings: dict[str, jax.Array]) -> None:
    ours(logits_BV, keys_B, settings).block_until_ready()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = {f"{n_vocab} x {batch}": measure(n_vocab, batch) for n_vocab in VOCABULARIES for batch in BATCHES}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"{'V x B':>12} {'cut':>8} {'kept':>9} {'exps':>9} {'least us':>10} {'ours us':>10} {'head us':>10}"
    )
    for shape, rows in found.items():
        head = rows.pop("head")["us"]
        for cut, row in rows.items():
            numbers = f"{row['kept']:9.0f} {row['exps']:9.0f} {row['least']:10.0f} {row['ours']:10.0f}"
            print(f"{shape:>12} {cut:>8} {numbers} {head:10.0f}")


if __name__ == "__main__":
    main()
