"""A grid of runs written down as data: what is the same in all runs, what varies, and in which stages.

  definition   the file, TOML, YAML or JSON, read and checked
  run_fields   the fields that it may set, and the JSON schema made from them
  cells        every combination as a run: which cannot be, which are the same
  study        the grid as a study: tuned at small sizes, checked by a larger run
  template     .toml and .py: what `isoflop init` writes

May import what studies may; of them quickstart alone.
"""

from experiments.studies.grid.cells import InvalidCells, cells_of
from experiments.studies.grid.definition import Grid, grid_schema, read_grid
from experiments.studies.grid.study import grid_study

__all__ = ["Grid", "InvalidCells", "cells_of", "grid_schema", "grid_study", "read_grid"]
