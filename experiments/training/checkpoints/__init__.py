"""What training keeps and starts from: checkpoint (a folder of them), shared_prefix (steps that runs take
over from each other), load (parameters of a run that is done, and those a run starts from).

Others import the modules: `checkpoint` has Checkpoints, Unreadable and newest_step, `load` has load. May
import what training may. The only home of orbax.
"""

__all__ = ["checkpoint", "load", "shared_prefix"]
