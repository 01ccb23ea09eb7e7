"""Runs studies on machines: the command line, a study's folder, workers, schedulers.

Only this room knows of processes, Slurm, Kubernetes or HTTP. It may import experiments, scaling and models,
and nothing imports it. Inside, each sub-package may import those after it:

    cli, commands    one file a verb; commands do not import commands
    arguments        what commands share: their arguments, read and checked
    serve            a checkpoint behind the OpenAI protocol
    backends         local, slurm, kubernetes: who starts workers
    driver           takes a study through its stages
    workers          processes that train runs
    monitor          how far a study is, on screens and for other programs
    store            a study's folder: plan, claims, leases, results

A command is quick to start: jax, pandas and the like are imported late, when a process is prepared for them.

The four packages have names that other folders have, too. Workers are started with `python -P`, which does
not look into the working directory. Where another package is found nevertheless, a process says so and ends.
"""

import importlib.util
import sys
from pathlib import Path


def foreign_packages() -> list[str]:
    """A line for each of the other three packages that Python finds elsewhere than beside this one."""
    here, lines = Path(__file__).parents[1], []
    for name in ("models", "scaling", "experiments"):
        found = importlib.util.find_spec(name)
        places = (
            [Path(place) for place in (found.submodule_search_locations or [found.origin or ""])]
            if found
            else []
        )
        if here / name not in places:
            where = ", ".join(map(str, places)) or "nowhere"
            lines.append(
                f"package {name!r} is found in {where}, but isoflop's is {here / name}: rename the other "
                "one, or take its folder out of PYTHONPATH (or of the working directory of `python -m`)"
            )
    return lines


if _lines := foreign_packages():
    print(f"isoflop: {_lines[0]}", file=sys.stderr)
    raise SystemExit(2)
