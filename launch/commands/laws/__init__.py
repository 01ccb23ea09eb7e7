"""Verbs about laws, predictions and reports: fit, predict, compare, next, hparams, forecast, report."""
