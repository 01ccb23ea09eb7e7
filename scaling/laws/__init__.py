"""The laws by name; a new one is a file of this package and a line here.

  law             what a law is, its values and slopes; user_law: one of the user's own
  pretraining     loss by size, tokens and what else is varied between runs
  training_curve  loss along a run by its learning rates
  downstream      accuracy, pass@k, fine-tuning, reward, facts

Imports nothing else of scaling.
"""

import difflib

from scaling.laws.downstream.capacity import capacity
from scaling.laws.downstream.fact_error import FACT_ERROR
from scaling.laws.downstream.fine_tuning import FINE_TUNING
from scaling.laws.downstream.logistic import logistic
from scaling.laws.downstream.over_optimisation import (
    OVER_OPTIMISATION_BON,
    OVER_OPTIMISATION_RL,
    over_optimisation_bon,
    over_optimisation_rl,
)
from scaling.laws.downstream.planted_statement import PLANTED_STATEMENT
from scaling.laws.downstream.repeated_sampling import PASS_AT_K
from scaling.laws.downstream.reward_model import REWARD_MODEL
from scaling.laws.downstream.rl_compute import RL_COMPUTE
from scaling.laws.downstream.task_accuracy import DOWNSTREAM
from scaling.laws.downstream.u_shaped import u_shaped
from scaling.laws.law import FREE, Columns, Law
from scaling.laws.pretraining.batch import BATCH
from scaling.laws.pretraining.broken import broken
from scaling.laws.pretraining.chinchilla import CHINCHILLA
from scaling.laws.pretraining.data_constrained import DATA_CONSTRAINED, OVERFITTING
from scaling.laws.pretraining.kaplan import KAPLAN
from scaling.laws.pretraining.low_resource import LOW_RESOURCE
from scaling.laws.pretraining.mixed_forms import INTERACTING, SKALING
from scaling.laws.pretraining.mixture import mixture, mixture_exponential, mixture_own
from scaling.laws.pretraining.moe import GRANULARITY, MOE, SPARSITY
from scaling.laws.pretraining.over_training import OVER_TRAINING
from scaling.laws.pretraining.precision import PRECISION
from scaling.laws.pretraining.transfer import TRANSFER
from scaling.laws.training_curve.annealing import ANNEALING
from scaling.laws.training_curve.multi_power import MULTI_POWER
from scaling.laws.training_curve.recorded import ANNEALING_CURVES, MULTI_POWER_CURVES
from scaling.laws.user_law import already_run, from_file

__all__ = ["CHINCHILLA", "FORMS", "FREE", "LAWS", "Columns", "Law", "find"]

# Laws of columns of your choice: NAME:COLUMN,… calls the function with these words.
OF_COLUMNS = {
    "broken": broken,
    "capacity": capacity,
    "logistic": logistic,
    "mixture": mixture,
    "mixture_own": mixture_own,
    "mixture_exponential": mixture_exponential,
    "u_shaped": u_shaped,
    "over_optimisation_bon": over_optimisation_bon,
    "over_optimisation_rl": over_optimisation_rl,
}
LAWS = {
    law.name: law
    for law in (
        CHINCHILLA,
        KAPLAN,
        OVER_TRAINING,
        SKALING,
        INTERACTING,
        DATA_CONSTRAINED,
        OVERFITTING,
        TRANSFER,
        BATCH,
        PRECISION,
        MOE,
        GRANULARITY,
        SPARSITY,
        broken(),
        logistic(),
        u_shaped(),
        ANNEALING,
        MULTI_POWER,
        ANNEALING_CURVES,
        MULTI_POWER_CURVES,
        mixture("web", "code", "books"),
        mixture_own("web", "code", "books"),
        mixture_exponential("web", "code", "books"),
        LOW_RESOURCE,
        DOWNSTREAM,
        PASS_AT_K,
        OVER_OPTIMISATION_BON,
        OVER_OPTIMISATION_RL,
        over_optimisation_bon("reward_params"),
        over_optimisation_rl("reward_params", "reward_pairs"),
        FINE_TUNING,
        REWARD_MODEL,
        RL_COMPUTE,
        PLANTED_STATEMENT,
        capacity(),
        FACT_ERROR,
    )
}
FORMS = {form.name: form for law in LAWS.values() for form in (law, law.relaxed or law, *law.beside)}
FORMER_NAMES = {"chinchilla-loose": "chinchilla-decoupled"}  # in a fit.json of before


def find(name: str, run_files: bool = True) -> Law:
    """A law, its relaxed form or one beside it, by its name.

    `broken:n_params`, `u_shaped:n_params,accuracy`, `mixture:web,code`, `mixture_own:…` and
    `over_optimisation_rl:reward_params` are of the columns named;
    `path.py:name` is a user's own, and runs that file; without `run_files` only if it was run before.

    Raises:
      ValueError: there is no such law, file or name in it.
    """
    name = FORMER_NAMES.get(name, name)
    if name in FORMS:
        return FORMS[name]
    kind, colon, words = str(name).partition(":")
    if kind in OF_COLUMNS:
        try:
            return OF_COLUMNS[kind](*words.split(",") if colon else ())
        except TypeError:
            raise ValueError(f"law {name}: expected {kind}:COLUMN or {kind}:COLUMN,TARGET") from None
    if colon:
        return from_file(str(name)) if run_files else already_run(str(name))
    near = difflib.get_close_matches(name, FORMS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LAWS)}."
    raise ValueError(f"unknown law {name!r}; {hint} A law of your own is path.py:name")
