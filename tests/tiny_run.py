"""Tiny runs on a tiny token cache: a study directory with an untrained one, and what trains others."""

import dataclasses
import json
import math
import os
from pathlib import Path

import jax
import numpy as np

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.cache import SPLITS, Encoded, read_manifest, write_manifest, write_split
from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig
from experiments.fields import to_json
from experiments.training.checkpoints.checkpoint import Checkpoints
from experiments.training.checkpoints.load import load
from launch.cli import command_module, main
from models import TransformerConfig, ladder

DOCUMENTS = {split: [f"Returns the {split} part {i} of it." for i in range(12)] for split in SPLITS}


def make_cache(folder: Path) -> str:
    """Writes the token cache of DOCUMENTS; returns its fingerprint."""
    vocab = ByteVocab()
    splits = {}
    for split, texts in DOCUMENTS.items():
        pieces = [np.array([*vocab.encode(text), vocab.eos_id]) for text in texts]
        lengths = np.array([len(piece) for piece in pieces])
        batch = Encoded(np.concatenate(pieces), lengths, lengths - 1, [""] * len(texts))
        splits[split] = write_split(folder, split, [batch], np.dtype("<u2"))
    tokenizer = {"name": "bytes", "size": vocab.size, "eos_id": vocab.eos_id, "sha256": ""}
    write_manifest(folder, {"task": "docstrings", "dtype": "<u2", "tokenizer": tokenizer, "splits": splits})
    return read_manifest(folder)["fingerprint"]


def make_study(folder: Path, cache_root: Path) -> Path:
    """The directory of the study's only run; its cache is found when ISOFLOP_CACHE is `cache_root`."""
    config = RunConfig(
        model=TransformerConfig(
            vocab_size=259, d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_head=8, d_ff=24
        ),
        data=DataConfig(fingerprint=make_cache(cache_root / "docstrings-tiny")),
        optimizer=OptimizerConfig(lr=0.01),
        schedule=ScheduleConfig(),
        batch_tokens=64,
        seq_len=32,
        n_tokens=640,
    )
    run = folder / "runs" / config.run_id
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(to_json(config)))
    params = jax.jit(models.build(config.model).init)(jax.random.key(0))
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.save(10, params, {"count": np.zeros(1)}, {"step": 10})
    checkpoints.close()
    return run


class Hooks:
    """Counts progress; asks to stop, or is told that the run is somebody else's, after so many steps."""

    def __init__(self, stop_at: float = math.inf, lost_at: float = math.inf):
        self.stop_at, self.lost_at, self.seen = stop_at, lost_at, 0

    def should_stop(self) -> bool:
        return self.seen >= self.stop_at

    def lost(self) -> bool:
        return self.seen >= self.lost_at

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        self.seen += 1


def make_training_cache(root: Path) -> str:
    """Writes the token cache as a run needs it; it is found when ISOFLOP_CACHE is the path returned."""
    folder = root / "docstrings-tiny"
    make_cache(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"source": {}, "licence": ""}))
    return str(root)


def training_config(**changes) -> RunConfig:
    """A run of 40 steps on the cache of ISOFLOP_CACHE."""
    manifest = read_manifest(Path(os.environ["ISOFLOP_CACHE"]) / "docstrings-tiny")
    run = RunConfig(
        model=ladder(16, 259),
        data=DataConfig(fingerprint=manifest["fingerprint"]),
        optimizer=OptimizerConfig(lr=0.02),
        schedule=ScheduleConfig(),
        batch_tokens=64,
        seq_len=16,
        n_tokens=64 * 40,
        n_val_tokens=160,
    )
    return dataclasses.replace(run, **changes)


def assert_same_run(one: Path, other: Path) -> None:
    """Parameters and record are equal to the last bit."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    jax.tree.map(np.testing.assert_array_equal, load(one)[1], load(other)[1])


def isoflop(verb: str, *arguments: str) -> int:
    """Exit code of a command run in this process, its flags as in a fresh one."""
    values = command_module(verb).FLAGS
    for name in values:
        values[name].unparse()
    return main([verb, *arguments])
