"""What networks are made of: attention, feed-forward, norms and linear maps, positions, heads, LoRA.

Imports models.parametrization, models.sharding and models.model; no family.
"""
