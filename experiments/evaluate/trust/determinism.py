"""What of the way a checkpoint is run changes what it says: where bits of logits differ, and where tokens do.

A checkpoint is a function, but sums of floating-point numbers depend on their order, and that is chosen by
shapes (batch, padding), layout (mesh), the compiler and the machine. Each cell of the matrix runs the same
prompts in one way and is compared with one reference: a prompt at a time, padded to the next power of two,
read at once and continued a token at a time, in float32 on one device, compiled as usual.

Logits are compared where both have the same text before them, the reference's own; texts are compared at
temperature 0 and at a seed. A token differs where a difference of bits tips a tie or a draw, and all after it
may, so its first place is what counts.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.evaluate.loaded_model import LoadedModel, load_model
from experiments.evaluate.trust.answers import Asking, answer
from experiments.evaluate.trust.run_cell import SEED, Cell, Said, run_cell
from experiments.files import fingerprint, write_json

ROOT = Path(__file__).parents[3]

REFERENCE = Cell("reference", "reference")
EIGHT = "eight devices"  # the process of all meshes
CELLS = (
    Cell("again", "same run"),
    Cell("4 at a time", "batch", batch=4),
    Cell("16 at a time", "batch", batch=16),
    Cell("64 at a time", "batch", batch=64),
    Cell("2 times as long", "padding", padding=2),
    Cell("8 times as long", "padding", padding=8),
    Cell("weights as trained", "decoding", decoding="unpacked"),
    Cell("whole text anew", "decoding", decoding="whole"),
    Cell("bfloat16", "precision", dtype="bfloat16"),
    Cell("bfloat16, 16 at a time", "precision", dtype="bfloat16", batch=16),
    Cell("another process", "process", process="another"),
    *(Cell(f"data={n}", "mesh", batch=8, mesh={"data": n}, process=EIGHT) for n in (1, 2, 4, 8)),
    *(Cell(f"fsdp={n}", "mesh", batch=8, mesh={"fsdp": n}, process=EIGHT) for n in (2, 4, 8)),
    *(Cell(f"tensor={n}", "mesh", batch=8, mesh={"tensor": n}, process=EIGHT) for n in (2, 4, 8)),
    Cell("one core", "machine", process="one core", cores=1),
    Cell("AVX2 at most", "machine", process="avx2", flags="--xla_cpu_max_isa=AVX2"),
    Cell("SSE4.2 at most", "machine", process="sse", flags="--xla_cpu_max_isa=SSE4_2"),
    Cell(
        "compiled without optimization", "compiler", process="O0", flags="--xla_backend_optimization_level=0"
    ),
    Cell("fast math", "compiler", process="fast", flags="--xla_cpu_enable_fast_math=true"),
)


QUICK = tuple(cell for cell in CELLS if cell.name in ("16 at a time", "2 times as long", "whole text anew"))


def matrix(
    checkpoint: Path, prompts: Sequence[str], max_tokens: int = 16, cells: Sequence[Cell] = CELLS
) -> pd.DataFrame:
    """The matrix of a checkpoint: a row a cell, as `compare`, with its axis and name.

    Cells of other processes run there, those of one together; meshes are of virtual CPU devices, whatever
    device the others run on. In the place of a second machine, which is not at hand, are other instruction
    sets, numbers of cores and compilations on this one. To compare machines, keep what `run_cell` gives for
    REFERENCE on each, and `compare` that.

    Args:
      checkpoint: the folder of a run, or of a Hugging Face model.
      prompts: texts to continue.
      max_tokens: of each continuation.
      cells: the ways.

    Raises:
      ValueError: the checkpoint cannot be loaded, or a process failed, with the last line that it said.
    """
    loaded = load_model(checkpoint)
    reference = run_cell(loaded, prompts, REFERENCE, max_tokens)
    said: dict[str, Said] = {}
    for process in dict.fromkeys(cell.process for cell in cells):
        some = [cell for cell in cells if cell.process == process]
        if process:
            said |= _elsewhere(loaded.folder, prompts, some, max_tokens, reference.greedy)
        else:
            said |= {c.name: run_cell(loaded, prompts, c, max_tokens, reference.greedy) for c in some}
    rows = [{"axis": c.axis, "cell": c.name} | compare(reference, said[c.name]) for c in cells]
    return pd.DataFrame(
        [*rows, {"axis": "cache", "cell": "kept answers"} | _kept(loaded, prompts, max_tokens)]
    )


def in_words(table: pd.DataFrame) -> str:
    """A matrix in a line: of its cells with logits the largest difference, and how many texts differ."""
    cells = [
        f"{row['cell']} {row['max_abs']:.1g} ({row['greedy_prompts']:.0%})"
        for row in table.dropna(subset=["bits"]).to_dict("records")
    ]
    return f"determinism: logits differ by at most (texts at temperature 0 that differ): {', '.join(cells)}"


def _kept(loaded: LoadedModel, prompts: Sequence[str], max_tokens: int) -> dict[str, float]:
    """Of answers that are asked for again, the other way round and without the checkpoint at hand."""
    key, shares = fingerprint(loaded.folder), {}
    for name, temperature in (("greedy", 0.0), ("drawn", 1.0)):
        asking = Asking(temperature, seed=SEED, max_tokens=max_tokens, stop=())
        first = answer(key, lambda: loaded, prompts, asking, 1)
        again = answer(key, _not_loaded, prompts[::-1], asking, 1)[::-1]
        shares[f"{name}_prompts"] = float(np.mean([a != b for a, b in zip(first, again, strict=True)]))
    return shares


def _not_loaded() -> LoadedModel:
    raise ValueError("determinism: an answer that was given once is asked of the checkpoint again")


def compare(reference: Said, other: Said) -> dict[str, float]:
    """Where `other` differs from the reference.

    {"bits": share of logits that differ in a bit, "max_abs": the largest difference, "max_ulps": in float32
    numbers between them, and for "greedy" and "drawn" texts "_prompts": share of prompts whose text differs,
    "_first": the first differing position of any, from 0, NaN where none does}.
    """
    ulps = np.abs(_ordered(reference.logits) - _ordered(other.logits))
    row = {
        "bits": float(np.mean(ulps > 0)),
        "max_abs": float(np.max(np.abs(reference.logits.astype(np.float64) - other.logits))),
        "max_ulps": float(ulps.max()),
    }
    for name in ("greedy", "drawn"):
        differs_PN = getattr(reference, name) != getattr(other, name)
        places = np.argmax(differs_PN, axis=1)[differs_PN.any(axis=1)]
        row[f"{name}_prompts"] = len(places) / len(differs_PN)
        row[f"{name}_first"] = float(places.min()) if len(places) else float("nan")
    return row


def _ordered(x: np.ndarray) -> np.ndarray:
    """float32 numbers as int64 of the same order, neighbours one apart; both zeros are 0."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _elsewhere(
    checkpoint: Path, prompts: Sequence[str], cells: Sequence[Cell], max_tokens: int, text_PN: np.ndarray
) -> dict[str, Said]:
    """`run_cell` in another process, whose flags and cores are those of the cells."""
    process, flags = cells[0].process, cells[0].flags
    environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
    if flags:  # what other flags compiled is not what these would
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    content = {"checkpoint": str(checkpoint.absolute()), "prompts": list(prompts), "max_tokens": max_tokens}
    content |= {"cells": [dataclasses.asdict(cell) for cell in cells], "text": text_PN.tolist()}
    with tempfile.TemporaryDirectory() as folder:
        request, out = Path(folder) / "request.json", Path(folder) / "said.npz"
        write_json(request, content)
        command = [sys.executable, "-m", run_cell.__module__, str(request), str(out)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ValueError(f"determinism: the process of {process!r} ended with {done.returncode}: {last}")
        with np.load(out) as arrays:
            names = [each.name for each in dataclasses.fields(Said)]
            return {c.name: Said(*(arrays[f"{i}_{n}"] for n in names)) for i, c in enumerate(cells)}
