"""Laws of what is measured on a trained model, one a file.

  task_accuracy      accuracy by loss; u_shaped: what falls, turns and rises again
  repeated_sampling  pass@k by the number of samples
  over_optimisation  the true reward by how far a proxy of it was driven up
  reward_model       errors of a reward model by its size, pairs and their labels
  capacity           share of known facts that is learnt, by size and exposures
  fine_tuning        the loss by size and examples; rl_compute: reward over the compute of RL

`scaling.laws` has them by name; import them from there. Imports scaling.laws.law alone.
"""

__all__ = [
    "capacity",
    "fine_tuning",
    "over_optimisation",
    "repeated_sampling",
    "reward_model",
    "rl_compute",
    "task_accuracy",
    "u_shaped",
]
