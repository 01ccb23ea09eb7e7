"""Studies on Slurm: site file, commands, scripts, and the backend that submits them."""
