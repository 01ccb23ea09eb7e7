"""The compute-optimal model: the three approaches, frontier, returns, experts, families.

Imports scaling.table, scaling.laws, scaling.profiles and scaling.fitting.
"""
