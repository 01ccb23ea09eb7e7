"""A tiny corpus with components, grouped in a token cache, and a run on it."""

import dataclasses
import random
from pathlib import Path

import numpy as np

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.cache import SPLITS, Encoded, read_manifest, write_manifest, write_split
from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig, MixtureConfig
from models import ladder

# Training texts of each component; of validation and test there are a third as many.
SIZES = {"code": 30, "prose": 12, "verse": 6}


def make_mixed_cache(root: Path) -> str:
    """Writes a cache of documents of 40 tokens, digits and a letter that says of which component they are;
    returns its fingerprint. It is found when ISOFLOP_CACHE is `root`."""
    folder, vocab, splits, draw = root / "docstrings-mixed", ByteVocab(), {}, random.Random(0)
    for split in SPLITS:
        names = [name for name, n in SIZES.items() for _ in range(n if split == "train" else n // 3)]
        texts = [name[0].join(["", *draw.choices("0123456789", k=19), ""]) for name in names]
        tokens = np.concatenate([np.array([*vocab.encode(text), vocab.eos_id]) for text in texts])
        sizes = np.full(len(texts), 39)
        splits[split] = write_split(
            folder, split, [Encoded(tokens, sizes + 1, sizes, names)], np.dtype("<u2")
        )
    tokenizer = {"name": "bytes", "size": vocab.size, "eos_id": vocab.eos_id, "sha256": ""}
    about = {"task": "docstrings", "source": {}, "licence": "", "dtype": "<u2", "tokenizer": tokenizer}
    write_manifest(folder, about | {"splits": splits})
    return read_manifest(folder)["fingerprint"]


def mixed_config(fingerprint: str, mixture: MixtureConfig | None, **changes) -> RunConfig:
    """A run of 40 steps of 8 rows of 8 tokens."""
    run = RunConfig(
        model=ladder(16, 259),
        data=DataConfig(fingerprint=fingerprint, by="kind", mixture=mixture),
        optimizer=OptimizerConfig(lr=0.02),
        schedule=ScheduleConfig(),
        batch_tokens=64,
        seq_len=8,
        n_tokens=64 * 40,
        n_val_tokens=8 * 24,
    )
    return dataclasses.replace(run, **changes)
