"""A study's folder: plan, claims, leases, results, kept as names of files."""
