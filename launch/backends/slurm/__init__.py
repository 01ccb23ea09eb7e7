"""Studies on Slurm.

backend     submit, cancel, states, logs: the functions of launch.backends.interface.Backend
scripts     the scripts of a slot and of the controller
commands    sbatch, squeue, sacct as functions
site        the table [slurm] of a site file
"""
