"""What differs between two runs: settings, and what came out. A run is the folder of one, or a study's folder
and the beginning of an id.

Example: isoflop diff out/quickstart/3f2a out/quickstart/77bc
Example: isoflop diff out/quickstart 3f2a 77bc
"""

import json
import math
from typing import Any

from absl import flags

from experiments.evaluate.terminal import printable
from launch.arguments.studies import named_runs
from launch.monitor.text import cell, strict
from launch.store import settings

FLAGS = flags.FlagValues()
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop diff RUN RUN [--json]"
PARTS = ("post_training.", "components.")  # of a result, which tables have among its own columns
Values = dict[str, Any]


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the settings that differ, then the numbers of the results that do."""
    found = named_runs(args)
    if len(found) != 2:
        raise ValueError(f"expected two runs, or a study folder and two runs, got {args}; usage: {USAGE}")
    from launch.driver.runs_table import setting

    a, b = found
    names = settings.varied([a.config, b.config])
    columns = [settings.column(name) for name in settings.flat(a.config)]
    differing = {
        "settings": {name: [setting(a.config, name), setting(b.config, name)] for name in names},
        "result": results(a.result, b.result, columns),
    }
    if flags.json:
        plain = {
            part: {name: [*map(strict, pair)] for name, pair in differing[part].items()} for part in differing
        }
        print(json.dumps({"runs": [a.run_id, b.run_id], **plain}, indent=1))
        return 0
    if not (a.result and b.result):
        del differing["result"]
    print("\n".join(as_lines([a.run_id, b.run_id], differing)))
    for each in found:
        if not each.result:
            print(f"{each.run_id} has no result yet")
    return 0


def results(a: Values, b: Values, said: list[str]) -> dict[str, list[Any]]:
    """Values of two results that differ by their names, but for those `said` and the run's own times."""
    flat_a, flat_b = (_shortened(settings.flat(result)) for result in (a, b))
    if not flat_a or not flat_b:
        return {}
    return {
        name: [flat_a.get(name), flat_b.get(name)]
        for name in dict.fromkeys([*flat_a, *flat_b])
        if name not in ("run_id", *said) and not name.startswith(("seconds.", "data."))
        if flat_a.get(name) != flat_b.get(name)
    }


def _shortened(result: Values) -> Values:
    """Under the names that tables have, without what is no number."""
    return {
        name.removeprefix(PARTS[0]).removeprefix(PARTS[1]): value
        for name, value in result.items()
        if value == value
    }


def as_lines(runs: list[str], differing: dict[str, dict[str, list[Any]]]) -> list[str]:
    """A line a value, under the ids of the runs; of numbers the difference, too."""
    rows = [["", *runs, ""]]
    for part, values in differing.items():
        rows.append([f"{part}: nothing differs" if not values else part, "", "", ""])
        for name, pair in values.items():
            change = _change(*pair) if part == "result" else ""
            rows.append([f"  {name}", *(cell(name, value) for value in pair), change])
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    return [
        printable("  ".join(f"{word:<{width}}" for word, width in zip(row, widths)).rstrip()) for row in rows
    ]


def _change(a: Any, b: Any) -> str:
    """From the first to the second, also in per cent where that has a meaning."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b)):
        return ""
    share = f" ({b / a - 1:+.1%})" if a > 0 and b > 0 and math.isfinite(b / a) else ""
    return f"{b - a:+.4g}{share}" if math.isfinite(b - a) else ""
