"""The families of networks, one file each: configuration, network, exact counts and ladder of sizes.

Imports models.layers and what serves all families (model, counting, parametrization, sharding).
"""
