"""Fitting a law: the batched robust solver, the fit, its uncertainty and its diagnostics.

Imports scaling.table, scaling.laws and scaling.profiles.
"""
