"""The verbs of `isoflop`, one module each; launch/cli.py lists them.

A verb's module has FLAGS (absl), USAGE, a docstring with an example for --help, and run(args, flags), which
returns the exit code. It may import anything of launch but another command: what two share is in
launch/arguments, or with the thing itself. It imports jax late, after prepare_process.
"""
