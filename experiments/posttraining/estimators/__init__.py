"""What the losses of post-training are computed from, as functions of arrays.

  token_logps  log-probabilities of given tokens and of whole responses; the mask of a response; masked means
  kl           estimators of KL from samples (k1, k2, k3), exact KL and entropy from logits
  advantages   rewards of tokens with a KL term, generalized advantages, whitening, group advantages

Imports nothing of experiments.
"""

__all__ = ["advantages", "kl", "token_logps"]
