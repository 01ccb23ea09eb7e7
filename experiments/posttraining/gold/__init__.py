"""A world of short texts in which the true ("gold") reward of every response is known.

  language  prompts and responses as text: a task, and questions whose right answers are known
  reward    the gold reward of tokens, and the features it is made of
  examples  demonstrations of limited quality, prompts, pairs with noisy labels, probes of behaviour

Byte tokens. Imports experiments.data's vocabulary and objective_configs.
"""

from experiments.posttraining.gold.examples import candidates, demonstrations, label, pairs, probes, prompts
from experiments.posttraining.gold.language import MAX_NEW, PROBES, PROMPT_LENGTH, Probe
from experiments.posttraining.gold.reward import features, gold_reward

__all__ = [
    "MAX_NEW",
    "PROBES",
    "PROMPT_LENGTH",
    "Probe",
    "candidates",
    "demonstrations",
    "features",
    "gold_reward",
    "label",
    "pairs",
    "probes",
    "prompts",
]
