"""Responses made by hand, and an untrained model, for the tests of experiments/evaluate."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax

import models
from experiments.data.vocab import ByteVocab
from experiments.evaluate.checkpoint_paths import Checkpoint
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.tasks.responses import Responses
from experiments.evaluate.tasks.task import Item, Task
from models import ladder

CHOICES = ("ab", "é", "ccccccc")


def choice(prompt: str, *logprobs: float, right: int = 0, document: str = "") -> tuple[Item, dict]:
    choices = CHOICES[: len(logprobs)]
    return Item(prompt, choices[right], choices, document), {"logprobs": list(logprobs)}


def answered(metric: str, *pairs: tuple[Item, dict]) -> Responses:
    items = tuple(item for item, _ in pairs)
    task = Task("t", metric, items, items, "", chance=0.5, ceiling=1.0)
    return Responses(task, items, tuple(record for _, record in pairs), ())


def marked(marks: str) -> Responses:
    """The same items of multiple choice whoever is asked: "1" is right and "0" is wrong."""
    logprobs = {"1": (-1, -2), "0": (-2, -1)}
    return answered("multiple_choice", *(choice(f"{i}", *logprobs[m]) for i, m in enumerate(marks)))


def run(folder: Path, name: str, row: dict[str, str] | None = None, **config) -> Checkpoint:
    """A checkpoint that is nothing but its configuration."""
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(json.dumps(config))
    return Checkpoint(folder / name, row or {})


def untrained(vocab_size: int = ByteVocab.size) -> LoadedModel:
    vocab = ByteVocab()
    model = models.build(ladder(16, vocab_size))
    params = jax.jit(model.init)(jax.random.key(0))
    config: Any = SimpleNamespace(seq_len=64)  # all that is asked of it
    return LoadedModel(Path("untrained"), config, model, params, vocab)


def never() -> Any:
    raise AssertionError("opened though all is known")
