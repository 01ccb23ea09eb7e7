"""What is evaluated: the newest checkpoint of a run, or a Hugging Face folder, with its vocabulary."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.vocab import Vocab, load_vocab
from experiments.data.vocabularies.hugging_face import special_ids
from experiments.data_configs import DataConfig
from experiments.evaluate.checkpoint_paths import find_run, is_hugging_face
from experiments.fields import from_json
from experiments.files import read_json
from experiments.posttraining.data.chat_template import ChatTemplate, has_template, load_template
from experiments.training.checkpoints.load import load
from models import ModelConfig, hf
from models.decoding.prefill import Weights, packed
from models.model import Model

__all__ = ["LoadedModel", "find_run", "load_model"]

EXPORTED = "isoflop.json"  # the run that a Hugging Face folder was exported from
LONGEST = 2048  # a longer context is not used without being asked for


@dataclass(frozen=True)
class LoadedModel:
    """A trained network, ready to be asked. `end_ids` end a text as the vocabulary's own end does: a Hugging
    Face folder may name several."""

    folder: Path
    config: RunConfig
    model: Model
    params: Any
    vocab: Vocab
    end_ids: tuple[int, ...] = ()

    def token_bytes(self) -> list[bytes]:
        """What each of the network's ids says; it may have more of them than the vocabulary."""
        said = self.vocab.token_bytes()
        return said + [b""] * (self.model.config.vocab_size - len(said))


def load_model(path: Path, weights: Weights = "float32") -> LoadedModel:
    """Loads a run directory, a Hugging Face folder, or the verification run of a study directory.

    Args:
      path: of one of these.
      weights: that new tokens are decoded with, see `models.decoding.prefill.packed`.

    Raises:
      ValueError: none of these, no checkpoint there that can be read, or a tokenizer that cannot; "int8"
        of a network that does not decode so.
    """
    folder = find_run(path)
    if is_hugging_face(folder):
        load_vocab(run_of(folder, hf.load_config(folder)).data)  # before the parameters, if it cannot be read
        network, params = hf.load(folder)
        config = run_of(folder, network)
    else:
        config, params = load(folder)
    vocab = load_vocab(config.data)
    foreign = is_hugging_face(folder) or config.data.vocab == "imported"
    ends = special_ids(folder).get("eos_token_id", ()) if foreign else ()
    others = tuple(token for token in ends if token != vocab.eos_id)
    model = models.build(config.model)
    if weights != "float32":
        params = packed(model, params, weights)
    return LoadedModel(folder, config, model, params, vocab, others)


def chat_template(loaded: LoadedModel) -> ChatTemplate:
    """How the checkpoint was taught conversations: the template kept in its folder, else that of its run.

    Raises:
      ValueError: it was not, or the template cannot be used.
    """
    examples = loaded.config.examples
    if has_template(loaded.folder):
        return load_template(str(loaded.folder), loaded.vocab)
    if examples is None:
        raise ValueError(
            f"--chat: {loaded.folder} was not taught conversations; `isoflop sft` teaches them, and without "
            "--chat it continues a text"
        )
    return load_template("gold" if examples.task == "gold" else examples.template, loaded.vocab)


def run_of(folder: Path, network: ModelConfig, seq_len: int | None = None) -> RunConfig:
    """The run that a Hugging Face folder was exported from, or a stand-in for one that never was. A foreign
    vocabulary is that of the folder.

    Args:
      folder: of Hugging Face.
      network: what its config.json describes.
      seq_len: tokens a row; None: as it was trained, or is meant for.
    """
    data = DataConfig("imported", str(folder.absolute()), "imported", network.vocab_size)
    if not (folder / EXPORTED).is_file():
        return placeholder_run(network, data, seq_len)
    found = from_json(RunConfig, read_json(folder / EXPORTED))
    if seq_len:
        found = replace(found, seq_len=seq_len, batch_tokens=seq_len, micro_batches=1)
    data = data if found.data.vocab == "imported" else found.data
    return replace(found, model=network, data=data)


def placeholder_run(network: ModelConfig, data: DataConfig, seq_len: int | None = None) -> RunConfig:
    """A run with this network that never was; its context is what the network is meant for, 2048 at most."""
    n = seq_len or min(getattr(network, "max_len", 0) or LONGEST, LONGEST)
    return RunConfig(
        network, data, OptimizerConfig(lr=1e-5), ScheduleConfig(), batch_tokens=n, seq_len=n, n_tokens=n
    )
