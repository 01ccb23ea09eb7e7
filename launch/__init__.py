"""Runs studies on machines: the command line, a study's folder, workers, schedulers.

Only this room knows of processes, Slurm, Kubernetes or HTTP. It may import experiments, scaling and models,
and nothing imports it. Inside, each sub-package may import those after it:

    cli, commands    one file a verb; commands do not import commands
    arguments        what commands share: their arguments, read and checked
    serve            a checkpoint behind the OpenAI protocol
    backends         local, slurm, kubernetes: who starts workers
    driver           takes a study through its stages
    workers          processes that train runs
    monitor          how far a study is, on screens and for other programs
    store            a study's folder: plan, claims, leases, results

A command is quick to start: jax, pandas and the like are imported late, when a process is prepared for them.
"""
