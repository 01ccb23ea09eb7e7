"""Studies of post-training, in the world whose true reward is known (experiments.posttraining.gold).

  recipes   the runs that they share: pretraining, fine-tuning, reward models, reinforcement learning
  measures  what is asked of their checkpoints: best-of-n curves, reward and divergence of a policy
  figures   their pictures

The others are a study each.
"""
