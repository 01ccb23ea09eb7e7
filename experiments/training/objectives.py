"""What runs can be trained for: the objective and the data of each kind. A new one is a line in each dict."""

from collections.abc import Callable

from experiments.config import Recipe, RunConfig
from experiments.objective import Objective, RunData
from experiments.training import pretraining
from models.model import Model

# By `kind` of the objective's configuration; None is pretraining.
OBJECTIVES: dict[str | None, Callable[[Model, Recipe], Objective]] = {None: pretraining.objective}
DATA: dict[str | None, Callable[[RunConfig], RunData]] = {None: pretraining.data}


def objective_of(model: Model, recipe: Recipe) -> Objective:
    """What a run of this recipe minimises."""
    return OBJECTIVES[recipe.objective.kind if recipe.objective else None](model, recipe)


def data_of(config: RunConfig) -> RunData:
    """What a run trains on and is validated on; raises ValueError if that cannot be read."""
    return DATA[config.objective.kind if config.objective else None](config)
