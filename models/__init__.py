"""The maths of one network: `build(config)` gives it as pure functions, `count(config)` its size and cost.

configs/ has what networks can be, families/ the networks, layers/ what they are made of, decoding/ ways from
logits to text, hf/ Hugging Face's checkpoints. What serves all is here: model (what a family provides, and
the letters of shapes), one_row (prompt and response, also with an encoder), parameters, parametrization
(muP), sharding, partial_training, quantization (weights of few bits), attention_maps.

What other packages use is in `__all__`, and in the sub-packages' own; nothing here imports another package of
the project. Importing this package loads no jax: `build` loads what it needs.
"""

import functools
import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.configs import FAMILIES
from models.configs.counting import Counts
from models.configs.encdec import EncDecConfig
from models.configs.layers import Experts, Latent, RopeScaling
from models.configs.model_config import ModelConfig, MuP
from models.configs.rnn import RNNConfig
from models.configs.rwkv4 import RWKV4Config
from models.configs.rwkv7 import RWKV7Config
from models.configs.transformer import TransformerConfig

if TYPE_CHECKING:
    from models.model import Model

__all__ = [
    "FAMILIES",
    "Counts",
    "EncDecConfig",
    "Experts",
    "Latent",
    "ModelConfig",
    "MuP",
    "RNNConfig",
    "RWKV4Config",
    "RWKV7Config",
    "RopeScaling",
    "TransformerConfig",
    "build",
    "count",
    "ladder",
]


@functools.cache
def build(config: ModelConfig) -> "Model":
    """The network that `config` describes."""
    build_own = getattr(FAMILIES[config.family], "build", None)  # a family of the user's is one object
    build_it = build_own or importlib.import_module(f"models.families.{config.family}").build
    return build_it(config)


@functools.cache
def count(config: ModelConfig) -> Counts:
    """Parameters, FLOPs and cache of the network that `config` describes, by component."""
    return FAMILIES[config.family].count(config)


def ladder(d_model: int, vocab_size: int, family: str = "transformer", **changes: Any) -> ModelConfig:
    """The `family`'s model on the one-dial ladder of sizes.

    Args:
      d_model: the dial, a width; which ones there are, the families' `ladder` say.
      vocab_size: tokens of the vocabulary.
      family: a name in `FAMILIES`.
      changes: fields of the configuration that differ from the ladder's.

    Raises:
      ValueError: an unknown family, or a width that the ladder does not have.
    """
    if family not in FAMILIES:
        raise ValueError(
            f"no ladder for family {family!r}; there are {', '.join(FAMILIES)}, and FILE.py:NAME for your own"
        )
    config = FAMILIES[family].ladder(d_model, vocab_size)
    if changes.get("mup") and hasattr(config, "embedding_scale"):
        # Under muP a table does not shrink with width, so what lifts its rows is the base size's, too.
        base = FAMILIES[family].ladder(changes["mup"].base_d_model, vocab_size)
        changes = {"embedding_scale": base.embedding_scale} | changes
    return replace(config, **({"family": family} | changes))
