"""A run, from its configuration to its row of the table of runs.

Read train.py first: the recipe, with the step. Then optim.py and loss.py (what a step computes), metrics.py
and checkpoint.py (what it leaves), run_state.py (one run), packed_run.py (several as one program). The rest
is detail: compiled.py (jit, mesh, vmap), shared_prefix.py (steps taken over from another run), processes.py
(several hosts), result.py (the row), memory.py and jaxpr_memory.py (what will fit a device).

Others import the modules, by name: `train` (train, train_packed, training_functions, Stopped, Lost),
`checkpoint`, `metrics`, `optim`, `loss`, `memory`, `result` and `processes`; run_state has the protocol
`Hooks`. May import models and experiments' config, fields, files and data.
"""

__all__ = ["checkpoint", "loss", "memory", "metrics", "optim", "processes", "result", "run_state", "train"]
