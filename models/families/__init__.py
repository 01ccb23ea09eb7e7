"""The families of networks, one a file with `build(config) -> Model`; models/configs has the configuration,
counts and sizes of each in a file of the same name.

`models.build` loads the file of a family when it is first needed. `recurrent` is what the RWKVs have in
common, `layer_scan` how a transformer runs its layers.

Imports models.configs, models.layers and what serves all families (model, parameters, parametrization,
quantization, sharding).
"""
