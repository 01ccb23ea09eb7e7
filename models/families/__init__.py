"""The families of networks: configuration, network, exact counts and ladder of sizes of each in one file.

A new architecture is one file here and one line in `FAMILIES`; everything else, configurations in JSON and
the contract tests too, finds it there. `published` has the shapes of well-known models, `recurrent` what the
RWKVs have in common.

Imports models.layers and what serves all families (model, parameters, parametrization, counting, sharding).
"""

import dataclasses
from typing import Any, Protocol

from models.counting import Counts
from models.families import encdec, moe, rnn, rwkv4, rwkv7, transformer
from models.model import Model

__all__ = ["CONFIGS", "FAMILIES", "Family", "add_family"]


class Family(Protocol):
    """What the module of a family has."""

    Config: type

    def build(self, config: Any) -> Model:
        """The network that a configuration describes."""
        ...

    def count(self, config: Any) -> Counts:
        """Its parameters, FLOPs and cache, by component."""
        ...

    def ladder(self, d_model: int, vocab_size: int) -> Any:
        """The configuration of this width on the one-dial ladder of sizes."""
        ...


FAMILIES: dict[str, Family] = {
    "transformer": transformer,
    "moe": moe,
    "encdec": encdec,
    "rnn": rnn,
    "rwkv4": rwkv4,
    "rwkv7": rwkv7,
}
CONFIGS: dict[str, type] = {name: family.Config for name, family in FAMILIES.items()}


def add_family(name: str, family: Family) -> None:
    """Adds a family of the user's own under the name that configurations then have in `family`.

    Raises:
      ValueError: its Config cannot have that name.
    """
    types = {field.name: field.type for field in dataclasses.fields(family.Config)}
    if types.get("family") not in (str, "str"):
        raise ValueError(f'family {name}: its Config needs a field for that name, as family: str = "mine"')
    FAMILIES[name], CONFIGS[name] = family, family.Config
