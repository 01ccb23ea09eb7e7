"""A run, from its configuration to its row of the table of runs.

Read train.py first: the recipe, with the step. Then objectives.py and loss.py (what is minimised, on which
data), gradients.py and optim.py (how), metrics.py and run_state.py (what one run leaves), packed_run.py
(several as one program). The rest is detail: compiled.py (jit, mesh, vmap), checkpoints/, processes.py
(several hosts), result.py (the row), memory/ (what will fit a device).

Others import the modules, by name: `train` (train, train_packed, training_functions, Stopped, Lost),
`checkpoints`, `metrics`, `optim`, `loss`, `memory`, `result` and `processes`; run_state has the protocol
`Hooks`. May import models, posttraining, and experiments' config, fields, files, data and objective.
"""

__all__ = ["checkpoints", "loss", "memory", "metrics", "optim", "processes", "result", "run_state", "train"]
