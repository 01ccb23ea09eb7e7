"""What networks can be: configurations, checked when they are made, and what follows from one without its
network: exact counts, and the one-dial ladder of sizes. Reading a configuration loads no jax.

A family is a file here and the network of that name in models/families; `FAMILIES` has them all, and
everything else finds them there, configurations in JSON and the contract tests too. model_config has what all
families share, layers what layers are told, counting how parameters and FLOPs are counted, published the
shapes of well-known models.

Imports nothing else of the project, nor jax, flax or numpy.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from models.configs import encdec, moe, rnn, rwkv4, rwkv7, transformer
from models.configs.counting import Counts

__all__ = ["CONFIGS", "FAMILIES", "Family", "OwnFamily", "add_family"]


class Family(Protocol):
    """What the file of a family here has."""

    Config: type

    def count(self, config: Any) -> Counts:
        """Parameters, FLOPs and cache of the network that a configuration describes, by component."""
        ...

    def ladder(self, d_model: int, vocab_size: int) -> Any:
        """The configuration of this width on the one-dial ladder of sizes."""
        ...


class OwnFamily(Family, Protocol):
    """What the user's own family has, which is one object."""

    build: Callable[[Any], Any]  # from a configuration to its `models.model.Model`


FAMILIES: dict[str, Family] = {
    "transformer": transformer,
    "moe": moe,
    "encdec": encdec,
    "rnn": rnn,
    "rwkv4": rwkv4,
    "rwkv7": rwkv7,
}
CONFIGS: dict[str, type] = {name: family.Config for name, family in FAMILIES.items()}


def add_family(name: str, family: OwnFamily) -> None:
    """Adds a family of the user's own under the name that configurations then have in `family`.

    Raises:
      ValueError: its Config cannot have that name.
    """
    types = {field.name: field.type for field in dataclasses.fields(family.Config)}
    if types.get("family") not in (str, "str"):
        raise ValueError(f'family {name}: its Config needs a field for that name, as family: str = "mine"')
    FAMILIES[name], CONFIGS[name] = family, family.Config
