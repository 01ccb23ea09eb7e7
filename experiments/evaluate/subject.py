"""What is evaluated: the newest checkpoint of a run, with its network and its vocabulary."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from experiments import checkpoint
from experiments.config import RunConfig
from experiments.data.vocab import Vocab, load_vocab
from models.model import Model


@dataclass(frozen=True)
class Subject:
    """A trained network, ready to be asked."""

    folder: Path
    config: RunConfig
    model: Model
    params: Any
    vocab: Vocab


def open_subject(path: Path) -> Subject:
    """Loads a run directory, or the verification run of a study directory.

    Raises:
      ValueError: neither of the two, or no checkpoint there that can be read.
    """
    folder = find_run(path)
    config, params = checkpoint.load(folder)
    return Subject(folder, config, models.build(config.model), params, load_vocab(config.data))


def find_run(path: Path) -> Path:
    """The run directory that `path` names; a study stands for its verification run.

    Raises:
      ValueError: `path` is neither a run nor a study with a verification run.
    """
    if (path / "config.json").is_file():
        return path
    if (path / "verify.json").is_file():
        return path / "runs" / json.loads((path / "verify.json").read_text())["run_id"]
    runs = sorted(path.glob("runs/*/config.json"))
    if runs:
        raise ValueError(
            f"{path} is a study without a verification run yet; name a run, such as {runs[0].parent}"
        )
    raise ValueError(f"{path} is neither a run (no config.json) nor a study (no verify.json or runs/)")
