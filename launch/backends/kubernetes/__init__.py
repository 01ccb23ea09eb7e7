"""Studies on Kubernetes.

backend    submit, cancel, states, logs: the functions of launch.backends.interface.Backend
jobset     the manifest: one JobSet of workers and a driver
cluster    the table [kubernetes] of a site file
"""
