"""The maths of many runs: read a table of runs, fit a law, predict a larger run, split a budget.

Names are imported when they are first used: who asks how a run goes (`scaling.prediction.training_band`) has
no time to wait for jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling import hparams
    from scaling.fitting.fit import fit
    from scaling.fitting.result import Fit, Prediction
    from scaling.optimum.frontier import Optimum, frontier
    from scaling.profiles import isoflop
    from scaling.table.runs import Runs, read_runs

__all__ = ["Fit", "Optimum", "Prediction", "Runs", "fit", "frontier", "hparams", "isoflop", "read_runs"]

_HOMES = {
    "fit": "fitting.fit",
    "Fit": "fitting.result",
    "Prediction": "fitting.result",
    "Optimum": "optimum.frontier",
    "frontier": "optimum.frontier",
    "Runs": "table.runs",
    "read_runs": "table.runs",
}
_MODULES = {"hparams": "hparams", "isoflop": "profiles.isoflop"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"scaling.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"scaling.{_MODULES[name]}")
    raise AttributeError(f"module 'scaling' has no attribute {name!r}")
