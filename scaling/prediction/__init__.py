"""What fits say of new runs: accuracy in two steps, comparison of laws.

Imports scaling.table, scaling.laws and scaling.fitting.
"""
