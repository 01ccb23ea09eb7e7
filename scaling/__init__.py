"""The maths of many runs: read a table of runs, fit a law, predict a larger run, split a budget."""

from scaling import hparams
from scaling.fitting.fit import fit
from scaling.fitting.result import Fit, Prediction
from scaling.optimum.frontier import Optimum, frontier
from scaling.profiles import isoflop
from scaling.table.runs import Runs, read_runs

__all__ = ["Fit", "Optimum", "Prediction", "Runs", "fit", "frontier", "hparams", "isoflop", "read_runs"]
