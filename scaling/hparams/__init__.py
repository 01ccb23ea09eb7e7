"""The best learning rate and batch: sweeps, loss surfaces, their laws, transfer, critical batch."""
