"""Laws of the loss at the end of pre-training, one a file.

  chinchilla        loss by size and tokens; mixed_forms: what its forecasts are mixed with; kaplan: the older
                    form of it; batch: with the batch
  over_training     with tokens far beyond what is optimal; data_constrained: with tokens repeated,
                    with gain or with harm
  moe               with experts; precision: with fewer bits; mixture: with shares of domains
  transfer          on a domain, from scratch and from a model of other text
  low_resource      of one language by its own tokens, among many others
  broken            with bends where one power law gives way to another

`scaling.laws` has them by name; import them from there. Imports scaling.laws.law alone.
"""

__all__ = [
    "batch",
    "broken",
    "chinchilla",
    "data_constrained",
    "kaplan",
    "low_resource",
    "mixed_forms",
    "mixture",
    "moe",
    "over_training",
    "precision",
    "transfer",
]
