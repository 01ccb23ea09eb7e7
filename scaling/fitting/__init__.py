"""Fitting a law to a table of runs.

  fit                fit: from runs to a Fit; held_out; in_units: a table in units of the data
  result             Fit and Prediction: parameters, what is predicted, JSON, text
  solver             least squares: robust, many problems at once, for the parameters and their resamples; and
                     generalised, under a prior, for the parameters of a forecast
  uncertainty        Forecast: the predictive distribution of a new run; model_discrepancy: errors of the law;
                     joint_draws: whole curves that the runs allow
  forms              forecasts by several forms, mixed
  doubts             what makes a fit doubtful, in words
  reach              how far a prediction lies beyond the runs, and the doubt that this adds
  diagnostics        what the runs leave open, and what a single run does to a fit

Imports scaling.table, scaling.laws and scaling.profiles.
"""

__all__ = [
    "diagnostics",
    "doubts",
    "fit",
    "forms",
    "joint_draws",
    "model_discrepancy",
    "reach",
    "result",
    "solver",
    "uncertainty",
]
