"""Laws of what is measured on a trained model, one a file.

  task_accuracy      accuracy by loss; u_shaped: what falls, turns and rises again
  repeated_sampling  pass@k by the number of samples
  over_optimisation  the true reward by how far a proxy of it was driven up

`scaling.laws` has them by name; import them from there. Imports scaling.laws.law alone.
"""

__all__ = ["over_optimisation", "repeated_sampling", "task_accuracy", "u_shaped"]
