"""The determinism matrix: differences by hand, what must not differ, and all of it on a checkpoint."""

import numpy as np
import pytest

from experiments.evaluate.loaded_model import load_model
from experiments.evaluate.trust import determinism
from experiments.evaluate.trust.run_cell import Cell, Said, encoded, run_cell
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings

pytestmark = pytest.mark.usefixtures("cache_of_run")
PROMPTS = ["Returns", "the train part", "of"]


def test_differences_by_hand():
    logits = np.array([[[1.0, -2.0, 0.0]], [[3.0, 4.0, 5.0]]], np.float32)
    moved = logits.copy()
    moved[0, 0, 0] = np.nextafter(np.nextafter(np.float32(1), np.float32(2)), np.float32(2))
    moved[0, 0, 2] = -0.0
    greedy, other = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1, 9, 3], [4, 5, 6]])
    found = determinism.compare(Said(logits, greedy, greedy), Said(moved, other, greedy))
    assert found["bits"] == 1 / 6 and found["max_ulps"] == 2
    assert found["max_abs"] == pytest.approx(2**-22)
    assert (found["greedy_prompts"], found["greedy_first"]) == (1 / 2, 1)
    assert found["drawn_prompts"] == 0 and np.isnan(found["drawn_first"])
    across_zero = determinism.compare(Said(-logits, greedy, greedy), Said(logits, greedy, greedy))
    assert across_zero["max_ulps"] == 2 * int(np.float32(5).view(np.int32))


@pytest.mark.slow
def test_a_cell_says_what_the_sampler_says_and_another_one_nearly_so(run):
    loaded = load_model(run)
    reference = run_cell(loaded, PROMPTS, determinism.REFERENCE, 5)
    asked, seeds = encoded(loaded, PROMPTS), [7, 8, 9]
    for name, temperature in (("greedy", 0.0), ("drawn", 1.0)):
        settings = SamplingSettings(temperature)
        limits = {"max_tokens": 5, "eos_id": loaded.vocab.eos_id}
        said = sample(loaded.model, loaded.params, asked, seeds, settings, **limits)
        expected = [[*one.tokens, *[0] * (5 - len(one.tokens))] for [one] in said]
        assert getattr(reference, name).tolist() == expected
    cell = Cell("half", "precision", batch=4, padding=2, dtype="bfloat16")
    found = determinism.compare(reference, run_cell(loaded, PROMPTS, cell, 5, reference.greedy))
    assert found["bits"] > 0.5 and 1e-5 < found["max_abs"] < 0.1, "after the same text nearly the same"


@pytest.mark.slow
def test_the_matrix_of_a_checkpoint(run):
    """A cell or two of every axis, as most need a process of their own."""
    names = ("again", "16 at a time", "2 times as long", "whole text anew", "bfloat16", "another process")
    names += ("data=2", "fsdp=4", "tensor=2", "one core", "compiled without optimization")
    cells = tuple(cell for cell in determinism.CELLS if cell.name in names)
    table = determinism.matrix(run, PROMPTS, 4, cells).set_index("cell")
    assert len(table) == len(names) + 1 and set(table["axis"]) >= {cell.axis for cell in cells}
    assert table.loc["again", "bits"] == 0 and table.loc["another process", "bits"] == 0
    for _, row in table[table["axis"] == "mesh"].iterrows():
        assert row["max_abs"] < 1e-4
    assert table.loc["kept answers", ["greedy_prompts", "drawn_prompts"]].tolist() == [0, 0]
