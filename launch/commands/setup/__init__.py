"""Commands about this machine and this shell: what is installed and reachable, and completion."""
