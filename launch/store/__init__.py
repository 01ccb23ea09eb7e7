"""A study's folder: plan, claims, leases and results, kept as names of files.

    store        Store: the state of all runs, claims on them and their results
    plan         the planned runs, those set aside, and the stages that wait
    planned_run  PlannedRun, one line of the plan, and the states of a run
    settings     which settings differ between the runs, and what they are called
    leases       the right to train a run, and who holds it
    claims       which run a worker takes next, and with which others
    study_file   study.json: which study this is, with which settings
    lock         one process at a time in a folder

It may import experiments; of launch nothing but itself. It must not import jax: `isoflop status` reads it.
"""

from launch.store.planned_run import STATES, UNFINISHED, PlannedRun
from launch.store.store import Store

__all__ = ["STATES", "UNFINISHED", "PlannedRun", "Store"]
