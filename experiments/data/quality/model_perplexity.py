"""Text unlike clean text under one of our own checkpoints: bits a byte, as CCNet's filter (Wenzek et al.
2020), with a trained network in the place of n-grams.

The network is asked in a process of its own (experiments/evaluate/language_modelling/bits_per_byte.py), since
those that prepare data do without jax. The limit is a quantile of the bits of clean text.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.document import Document
from experiments.data.quality.perplexity import FEWEST, LONGEST, MOST_HELD_OUT, QUANTILE
from experiments.data.quality.verdict import Verdict, at_most
from experiments.files import fingerprint

SCORER = "experiments.evaluate.language_modelling.bits_per_byte"


@dataclass(frozen=True)
class ModelPerplexity:
    """The filter that drops what costs the checkpoint `model` more than `most` bits a byte. It judges many
    documents in little more time than one."""

    model: str
    most: float

    def __call__(self, document: Document) -> Verdict:
        return self.of_batch([document])[0]

    def of_batch(self, documents: Sequence[Document]) -> list[Verdict]:
        """A verdict of each document."""
        found = bits_per_byte(self.model, [document.text for document in documents])
        return [at_most(self.most, bits, "bits a byte") for bits in found]


def model_perplexity(model: str, clean: Sequence[str]) -> ModelPerplexity:
    """The filter that lets QUANTILE of some clean texts pass, which the checkpoint should not have learnt.

    Raises:
      ValueError: fewer than FEWEST texts, or `model` is no checkpoint that can be read.
    """
    if len(clean) < FEWEST:
        raise ValueError(
            f"data.quality.clean: {len(clean)} documents to set the limit of 'model_perplexity'; give "
            f"{FEWEST} or more"
        )
    return ModelPerplexity(model, float(np.quantile(bits_per_byte(model, clean[-MOST_HELD_OUT:]), QUANTILE)))


def bits_per_byte(model: str, texts: Sequence[str]) -> list[float]:
    """Of each text, or its first LONGEST characters, under a checkpoint.

    Raises:
      ValueError: the checkpoint cannot be read, or has diverged.
    """
    if not texts:
        return []
    process = _scorer(model)
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps([text[:LONGEST] for text in texts]) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended, and said why
    answer: Any = json.loads(process.stdout.readline() or '{"error": "its process ended"}')
    if isinstance(answer, dict):
        _scorer.cache_clear()
        raise ValueError(f"data.quality.model={model}: {answer['error']}")
    return answer


def identity(model: str) -> str:
    """The content of the checkpoint, wherever it lies.

    Raises:
      ValueError: there is none.
    """
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"data.quality.model={model}: no checkpoint there (no config.json); give the folder of a run, "
            "DIR/runs/RUN, or a Hugging Face folder"
        )
    return fingerprint(folder)


@functools.cache
def _scorer(model: str) -> subprocess.Popen[str]:
    """The process that knows the checkpoint; it ends with this one."""
    command = [sys.executable, "-P", "-m", SCORER, str(Path(model).expanduser())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
