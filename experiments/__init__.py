"""What makes runs: data, training, evaluation, and the studies that plan them.

    config        a run as data (`RunConfig`), whose hash names it
    fields        configurations to JSON and back
    files         durable writes
    data          text to tokens on disk, and batches of them
    posttraining  examples and objectives of what follows pretraining
    training      a configuration to a row of the table of runs
    evaluate      what a checkpoint can do
    studies       lists of stages, each of which turns the runs so far into the next runs

A run's result depends on its configuration alone: never on the machine, its paths or who launched it. May
import models and scaling, never launch: nothing here knows of processes that work side by side, Slurm or
Kubernetes. Only data imports TensorFlow and seqio, only training orbax.
"""

__all__ = ["config", "data", "evaluate", "fields", "files", "posttraining", "studies", "training"]
