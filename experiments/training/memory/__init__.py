"""Memory of a training step on a device, predicted without compiling it.

step_memory has what others use; jaxpr_memory finds the busiest moment of a traced program. May import what
training may.
"""

from experiments.training.memory.step_memory import (
    Memory,
    memory_needs,
    pack_size,
    smallest_mesh,
    training_memory,
)

__all__ = ["Memory", "memory_needs", "pack_size", "smallest_mesh", "training_memory"]
