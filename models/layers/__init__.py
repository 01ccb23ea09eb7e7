"""What networks are made of; a layer is given its sizes and knows no family.

linear: products with weights, and tables; norms; attention; mlp; moe: mixtures of experts; positions; cells
(GRU, LSTM), wkv and delta_rule: what recurrent networks remember by; segments: rows that hold several texts;
heads: classes and numbers on top of any network; lora: low-rank adapters of any network.

Others import these modules by name. They import models.configs, models.model, models.parameters,
models.partial_training and models.sharding.
"""

__all__ = [
    "attention",
    "cells",
    "delta_rule",
    "heads",
    "linear",
    "lora",
    "mlp",
    "moe",
    "norms",
    "positions",
    "segments",
    "wkv",
]
