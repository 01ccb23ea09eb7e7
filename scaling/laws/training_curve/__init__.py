"""Laws of whole loss curves, one a file.

  annealing    by the area under the learning rates and how they fell
  multi_power  by the learning rates, every fall with its own power law
  recorded     both, for what runs record: training losses on the way, validation losses at ends

`scaling.laws` has them by name; import them from there. Imports scaling.laws.law alone.
"""

__all__ = ["annealing", "multi_power", "recorded"]
