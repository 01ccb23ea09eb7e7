"""A study directory with one run of an untrained, tiny byte model, and the token cache it belongs to."""

import importlib
import json
from pathlib import Path

import jax
import numpy as np

import models
from experiments.checkpoint import Checkpoints
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig, to_json
from experiments.data.cache import SPLITS, read_manifest, write_manifest, write_split
from experiments.data.vocab import ByteVocab
from launch.cli import main
from models.config import TransformerConfig

DOCUMENTS = {split: [f"Returns the {split} part {i} of it." for i in range(12)] for split in SPLITS}


def make_cache(folder: Path) -> str:
    """Writes the token cache of DOCUMENTS; returns its fingerprint."""
    vocab = ByteVocab()
    splits = {}
    for split, texts in DOCUMENTS.items():
        pieces = [np.array([*vocab.encode(text), vocab.eos_id]) for text in texts]
        lengths = np.array([len(piece) for piece in pieces])
        batch = (np.concatenate(pieces), lengths, int(lengths.sum() - len(texts)))
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


def isoflop(verb: str, *arguments: str) -> int:
    """Exit code of a command run in this process, its flags as in a fresh one."""
    values = importlib.import_module(f"launch.commands.{verb}").FLAGS
    for name in values:
        values[name].unparse()
    return main([verb, *arguments])
