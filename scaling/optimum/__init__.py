"""The compute-optimal model: IsoFLOP profiles, envelope, frontier, returns, experts, families."""
