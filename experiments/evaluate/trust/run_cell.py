"""A checkpoint run in one way: the texts it gives, and the logits after given texts.

    python -m experiments.evaluate.trust.run_cell REQUEST.json OUT.npz

does so in a process of its own, for `determinism`.
"""

import dataclasses
import functools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import models
from experiments.data.vocab import prompt_ids
from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.files import read_json
from models import sharding
from models.decoding.prefill import bucket, packed
from models.decoding.rollout import rollout
from models.model import Model
from models.one_row import in_one_row

SEED = 7  # of the texts that are drawn


@dataclass(frozen=True)
class Cell:
    """One way to run a checkpoint.

    batch: prompts at a time. padding: of prompts, in units of the power of two that the longest just fits.
    decoding: "steps", a token at a time after the prompt, as a sampler does; "unpacked", the same with the
      weights of training instead of the copy that is read faster (`prefill.packed`), as on a mesh; "whole", a
      pass over all of the text for each token.
    mesh: devices by mesh axis; none: one device. dtype: compute type.
    process: "" this one, else another, whose XLA_FLAGS have `flags` too, and which stays on `cores` processor
      cores (0: all).
    """

    name: str
    axis: str
    batch: int = 1
    padding: int = 1
    decoding: str = "steps"
    mesh: Mapping[str, int] = field(default_factory=dict)
    dtype: str = "float32"
    process: str = ""
    flags: str = ""
    cores: int = 0


@dataclass(frozen=True)
class Said:
    """What one way gives: logits float32[P,N,V] after the reference's text, and tokens int32[P,N] at
    temperature 0 and drawn at a seed, 0 after the end of a text."""

    logits: np.ndarray
    greedy: np.ndarray
    drawn: np.ndarray


def encoded(loaded: LoadedModel, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts that begin documents."""
    return [prompt_ids(loaded.vocab, prompt) for prompt in prompts]


def run_cell(
    loaded: LoadedModel,
    prompts: Sequence[str],
    cell: Cell,
    max_tokens: int,
    text_PN: np.ndarray | None = None,
) -> Said:
    """What a cell gives in this process, whatever process it is meant for.

    Args:
      loaded: the checkpoint.
      prompts: P texts to continue.
      cell: the way.
      max_tokens: N, of a text.
      text_PN: int32, after which logits are taken; None: the cell's own at temperature 0.
    """
    model = models.build(dataclasses.replace(loaded.model.config, dtype=cell.dtype))
    mesh, texts = None, encoded(loaded, prompts)
    if cell.mesh:
        mesh = sharding.make_mesh(dict(cell.mesh), jax.devices()[: math.prod(cell.mesh.values())])
    is_packed = mesh is None and cell.decoding == "steps"
    params = packed(model, loaded.params) if is_packed else loaded.params
    params = sharding.put_parameters(params, model.axes, mesh)
    programs = _programs(model, max_tokens, loaded.vocab.eos_id, mesh)
    width, parts = cell.padding * bucket(max(map(len, texts))), []
    for first in range(0, len(texts), cell.batch):
        some = texts[first : first + cell.batch]
        rows = [*some, *([some[0]] * (cell.batch - len(some)))]  # the last batch is filled up
        tokens_BP = np.array([row + [0] * (width - len(row)) for row in rows], np.int32)
        lengths_B = np.array([len(row) for row in rows], np.int32)
        seeds_B = np.arange(SEED + first, SEED + first + cell.batch, dtype=np.uint32)
        asked = sharding.put_batch((tokens_BP, lengths_B, seeds_B), mesh)
        greedy, drawn = (np.asarray(programs["text"](params, *asked, t)) for t in (0.0, 1.0))
        text_BN = greedy.copy() if text_PN is None else np.zeros_like(greedy)
        if text_PN is not None:
            text_BN[: len(some)] = text_PN[first : first + len(some)]
        after = programs["whole" if cell.decoding == "whole" else "steps"]
        logits = np.asarray(after(params, *asked[:2], sharding.put_batch(text_BN, mesh)))
        parts.append([array[: len(some)] for array in (logits, greedy, drawn)])
    return Said(*map(np.concatenate, zip(*parts)))


@functools.lru_cache(maxsize=4)
def _programs(model: Model, n: int, eos_id: int, mesh: jax.sharding.Mesh | None) -> dict[str, Any]:
    """Compiled: "text", n tokens after each prompt; "steps" and "whole", the logits before each of n."""
    one = in_one_row(model)

    def text(params, tokens_BP, lengths_B, seeds_B, temperature):
        rolled = rollout(model, params, tokens_BP, lengths_B, seeds_B, n, eos_id, temperature)
        places_BN = lengths_B[:, None] + jnp.arange(n)
        said_BN = jnp.take_along_axis(rolled.tokens_BT, places_BN, axis=1)
        return jnp.where(places_BN < rolled.lengths_B[:, None], said_BN, 0)

    def steps(params, tokens_BP, lengths_B, text_BN):
        def step(carry, token_B):
            logits_BV, cache = carry
            return one.decode(params, token_B, cache), logits_BV

        first = one.prefill(params, tokens_BP, lengths_B, tokens_BP.shape[1] + n)
        return jax.lax.scan(step, first, text_BN.T)[1].swapaxes(0, 1)

    def whole(params, tokens_BP, lengths_B, text_BN):
        places_BN = lengths_B[:, None] + jnp.arange(n)
        rows_B1 = jnp.arange(len(tokens_BP))[:, None]
        tokens_BT = jnp.pad(tokens_BP, ((0, 0), (0, n))).at[rows_B1, places_BN].set(text_BN)

        def after(t):
            return one.prefill(params, tokens_BT, lengths_B + t, tokens_BT.shape[1])[0]

        return jax.lax.map(after, jnp.arange(n)).swapaxes(0, 1)

    return {f.__name__: jax.jit(sharding.on_mesh(f, mesh)) for f in (text, steps, whole)}


def main(request: Path, out: Path) -> None:
    """Runs the cells of a request in this process, whose devices and cores are theirs."""
    content = read_json(request)
    cells = [Cell(**cell) for cell in content["cells"]]
    if cells[0].cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: cells[0].cores])
    if any(cell.mesh for cell in cells):
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", max(math.prod(cell.mesh.values()) for cell in cells))
    loaded, text_PN = load_model(Path(content["checkpoint"])), np.array(content["text"], np.int32)
    said = [run_cell(loaded, content["prompts"], cell, content["max_tokens"], text_PN) for cell in cells]
    arrays = {f"{i}_{name}": array for i, one in enumerate(said) for name, array in vars(one).items()}
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
