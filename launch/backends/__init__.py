"""Where workers run: this machine, Slurm, Kubernetes."""
