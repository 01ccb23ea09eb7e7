"""The best learning rate and batch size: sweeps, loss surfaces, laws, transfer across sizes, critical batch.

  sweeps          which rows of a table are settings tried at one size
  loss_surface    the form of the loss around an optimum; fit_surface: all sizes' surfaces fitted at once
  sweep_optima    the optimum of each sweep with its uncertainty
  fit_hparams     from a table to laws; hparam_laws: the laws, their predictions, their JSON
  joint_law       the rate over width, depth, tokens and a given batch together, with interactions
  transfer        how far the best rate moves over a row of sizes
  critical_batch  the batch size beyond which steps are saved no longer

It imports `scaling.table` and `scaling.optimum`.
"""

from scaling.hparams.fit_hparams import fit_groups, fit_hparams
from scaling.hparams.hparam_laws import HparamLaws, HparamOptimum, Setting
from scaling.hparams.joint_law import JointLrLaw, fit_joint_lr
from scaling.hparams.sweeps import AXES
from scaling.hparams.transfer import LrOptimum, Transfer, transfer

__all__ = [
    "AXES",
    "HparamLaws",
    "HparamOptimum",
    "JointLrLaw",
    "LrOptimum",
    "Setting",
    "Transfer",
    "fit_groups",
    "fit_hparams",
    "fit_joint_lr",
    "transfer",
]
