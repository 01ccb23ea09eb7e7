"""Show the configuration of a run with all its fields, defaults too, or what differs between two.

A run is its folder or its config.json; after the folder of a study, the beginning of its id, planned or done.
The lines are as the base of a grid takes them.

Example: isoflop config show out/quickstart 3f2a
Example: isoflop config diff out/quickstart 3f2a 9c1b
Example: isoflop config diff config.json out/other/runs/9c1b22d4e5f6
"""

import json
from typing import Any

from absl import flags

from launch.arguments.studies import named_runs

FLAGS = flags.FlagValues()
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop config show [DIR] RUN, or isoflop config diff [DIR] RUN RUN"
ABSENT = "-"  # of a field that the other's kind of model or objective does not have


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints fields, a line each."""
    action, *named = args or [""]
    if action not in ("show", "diff"):
        raise ValueError(f"expected show or diff, got {args}; usage: {USAGE}")
    configs = [fields(each.config) for each in named_runs(named)]
    if len(configs) != (1 if action == "show" else 2):
        raise ValueError(f"{action} takes {'one run' if action == 'show' else 'two runs'}; usage: {USAGE}")
    if action == "show":
        (found,) = configs
        print(json.dumps(found, indent=1) if flags.json else "\n".join(lines(found)))
        return 0
    different = differences(*configs)
    if flags.json:
        print(json.dumps(different, indent=1))
    else:
        print("\n".join(as_table(different)) if different else "the same configuration")
    return 0


def fields(values: dict[str, Any]) -> dict[str, Any]:
    """All fields by their dotted names."""
    from experiments.config import RunConfig
    from experiments.fields import flat, from_json

    return flat(from_json(RunConfig, values))


def lines(found: dict[str, Any]) -> list[str]:
    """ "optimizer.lr = 0.001" each, as TOML, which has no null."""
    return [
        f"{'# ' if value is None else ''}{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in found.items()
    ]


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, list[Any]]:
    """Both values of each field in which two configurations differ; ABSENT where there is no such field."""
    names = dict.fromkeys([*one, *other])
    both = {name: [one.get(name, ABSENT), other.get(name, ABSENT)] for name in names}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def as_table(different: dict[str, list[Any]]) -> list[str]:
    """A field a line, its two values in columns."""
    rows = [
        (name, *(value if value == ABSENT else json.dumps(value, ensure_ascii=False) for value in pair))
        for name, pair in different.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{name:<{widths[0]}}  {one:<{widths[1]}}  {other}" for name, one, other in rows]
