"""Emergence and inverse scaling: metric artefacts, breaks, tasks that get worse."""
