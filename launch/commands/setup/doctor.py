"""What of this machine a study can use, and what stands in its way: versions, devices and their memory,
threads, caches, disk, schedulers, extras. It takes a few seconds and changes nothing.

The exit code is 1 if something is marked "wrong"; what is marked "look" may well be meant so.

Example: isoflop doctor
"""

import json
import os
import shutil
from dataclasses import asdict

from absl import flags

from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop doctor [--json]"
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Prints a line or two about each."""
    if args:
        raise ValueError(f"expected no argument, got {args}; usage: {USAGE}")
    from launch.commands.setup import machine

    before = dict(os.environ)
    prepare_process()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a look must not take a GPU's memory
    found = machine.examine(before)
    if flags.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        width = max(40, shutil.get_terminal_size().columns)
        print("\n".join(machine.as_text(each, width) for each in found))
    return int(any(each.state == "wrong" for each in found))
