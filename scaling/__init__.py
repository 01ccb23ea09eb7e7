"""The maths of many runs: read a table of runs, fit a law, predict a larger run, split a budget."""

from scaling import hparams, isoflop
from scaling.fit import Fit, Prediction, fit
from scaling.frontier import Optimum, frontier
from scaling.runs import Runs, read_runs

__all__ = ["Fit", "Optimum", "Prediction", "Runs", "fit", "frontier", "hparams", "isoflop", "read_runs"]
