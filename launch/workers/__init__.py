"""Processes that train the runs of a study: one a device, a pool on a machine, one over several hosts."""
