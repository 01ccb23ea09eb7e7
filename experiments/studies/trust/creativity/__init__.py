"""Creativity: what samplers and post-training do to quality, diversity and novelty.

study     stages, the prediction for a larger model, what is written; plans: its settings and runs
frontier  samples of models of a grammar under a grid of samplers, and samplers compared at equal diversity
policies  samples of policies of the gold world before and after preference tuning
words     what was found; figures: the pictures
"""
