"""Which models a study trains on which compute: learning-rate sweeps and IsoFLOP grids."""

from dataclasses import dataclass

__all__ = ["GridBudget", "Sweep"]


@dataclass(frozen=True)
class Sweep:
    """Models of one width, trained on a budget of FLOPs, at every rate of the sweep."""

    d_model: int
    flops: float


@dataclass(frozen=True)
class GridBudget:
    """Models of several widths, all trained on the same budget of FLOPs."""

    flops: float
    d_models: tuple[int, ...]
