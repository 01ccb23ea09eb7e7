"""Training runs: train.py reads from top to bottom; the rest is what it uses."""
