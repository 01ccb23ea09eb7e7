"""Studies on Kubernetes: cluster settings, JobSet manifest, and the backend that applies it."""
