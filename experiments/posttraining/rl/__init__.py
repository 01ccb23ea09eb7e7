"""Reinforcement learning from rewards: algorithms that sample responses while they train.

  rollouts       what all algorithms do in a step: sample, score, compare with the reference
  ppo            proximal policy optimization with a value function
  grpo           GRPO, Dr. GRPO and RLOO: baselines from the other responses to a prompt
  rejection      fine-tuning on the best of several responses
  exact_answers  the reward of questions with exact answers, which may be left open
  diagnosis      what a run's metrics say has gone wrong

Imports the estimators and the gold world of experiments.posttraining. Its prompts are in data/.
"""
