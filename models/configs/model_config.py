"""What the configurations of all families share: their form, muP's base size, and checks."""

import math
from dataclasses import Field, dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal, Protocol

Dtype = Literal["float32", "bfloat16"]
MAX_SIZE, MAX_LAYERS = 2**24, 10_000  # far beyond any network


class ModelConfig(Protocol):
    """What the configurations of all families have: frozen dataclasses with checks.

    Parameters are always float32; `dtype` is the compute type. `remat` recomputes each block in the backward
    pass: less memory, about a third more time, the same numbers.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def vocab_size(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def dtype(self) -> Dtype: ...
    @property
    def remat(self) -> bool: ...
    @property
    def family(self) -> str: ...


@dataclass(frozen=True)
class MuP:
    """The size at which hyperparameters were tuned."""

    base_d_model: int
    base_n_layers: int
    base_d_head: int


def check_sizes(where: str, config: Any, *names: str, least: int = 1) -> None:
    """Refuses a configuration of which one of these fields is no whole number, too small, or larger than any
    network has: what loops over it, or allocates, would take the machine down before it fails."""
    for name in names:
        value, most = getattr(config, name), MAX_LAYERS if "layers" in name else MAX_SIZE
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{where}: {name}={value!r}; it must be a whole number")
        if int(value) < least:
            raise ValueError(f"{where}: {name}={value}; it must be at least {least}")
        if int(value) > most:
            raise ValueError(f"{where}: {name}={value}; it must be at most {most:,}")


def check_positive(where: str, config: Any, *names: str) -> None:
    """Refuses a configuration of which one of these fields is not a positive, finite number."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{where}: {name}={getattr(config, name)}; it must be positive and finite")


def check_dtype(dtype: str) -> None:
    """Refuses a compute type that is not one of `Dtype`."""
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"model: dtype={dtype!r}; allowed are 'float32' and 'bfloat16'")
