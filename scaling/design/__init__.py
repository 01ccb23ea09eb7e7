"""Bayesian design: which runs to make next, so that a prediction becomes more certain for the compute spent.

  design_target     what a plan is to predict better: a loss, a best size, or the exponent of the best size
  joint_covariance  the covariance of the target with the losses of candidate runs, and what measuring leaves
  next_runs         a first grid; then the runs that reduce the target's variance most for their FLOPs,
                    or that are worth repeating
  mixture_grid      mixtures of domains to run, for a mixture law

It imports `scaling.table`, `laws`, `fitting`, `prediction` and `optimum`.
"""

from scaling.design.mixture_grid import mixture_grid
from scaling.design.next_runs import DesignPlan, first_grid, next_runs, worth_repeating

__all__ = ["DesignPlan", "first_grid", "mixture_grid", "next_runs", "worth_repeating"]
