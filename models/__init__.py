"""The maths of one network. `build(config)` gives it as pure functions."""

from models import transformer
from models.config import TransformerConfig
from models.model import Model

FAMILIES = {"transformer": transformer}


def build(config: TransformerConfig) -> Model:
    """The network that `config` describes."""
    return FAMILIES[config.family].build(config)
