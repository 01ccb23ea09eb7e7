"""Processes that train the runs of a study: one a device, a pool on a machine, one over several hosts.

    worker            the process: `python -P -m launch.workers.worker DIR`
    work_loop         claim, train, record, until no run is left
    trainer           Trainer: how runs are trained; jax_trainer is experiments.training
    hooks             between a run in training and its worker: stop requests, heartbeats, progress
    run_log           log.txt of a run
    multihost_worker, hosts    one worker over several hosts
    pool              WorkerPool: the workers of this machine
    foreground        one run that a command trains itself
    process           how a process is set up, and how it learns that it should leave

It may import launch.store, launch.monitor and experiments; jax only late, in a process that is prepared.
Import from its modules.
"""
