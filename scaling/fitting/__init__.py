"""Fitting a law: the batched robust solver, the fit, influence of single runs, diagnostics."""
