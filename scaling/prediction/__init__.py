"""What a fit says of new runs: uncertainty, model discrepancy, comparison of laws."""
