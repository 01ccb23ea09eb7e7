"""The maths of one network. `build(config)` gives it as pure functions, `count(config)` its size and cost."""

import functools

from models.config import ModelConfig
from models.counting import Counts
from models.families import encdec, rnn, rwkv4, rwkv7, transformer
from models.layers import moe
from models.model import Model

# One file a family, with `build(config) -> Model` and `count(config) -> Counts`.
FAMILIES = {
    "transformer": transformer,
    "moe": moe,
    "encdec": encdec,
    "rnn": rnn,
    "rwkv4": rwkv4,
    "rwkv7": rwkv7,
}


@functools.cache
def build(config: ModelConfig) -> Model:
    """The network that `config` describes."""
    return FAMILIES[config.family].build(config)


@functools.cache
def count(config: ModelConfig) -> Counts:
    """Parameters, FLOPs and cache of the network that `config` describes, by component."""
    return FAMILIES[config.family].count(config)
