"""Write a commented grid of runs to start from, NAME.toml, or a study in Python, NAME.py.

--schema prints the JSON schema of grid files, by which editors complete and check them: save it beside the
grid, and say so in the grid's first line, `#:schema ./grid.schema.json`.

Example: isoflop init rates.toml
Example: isoflop init --schema > grid.schema.json
"""

import json
from pathlib import Path

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_bool("schema", False, "print the JSON schema of grid files", flag_values=FLAGS)
USAGE = "isoflop init NAME.toml|NAME.py, or isoflop init --schema"
TEMPLATES = {".toml": "template.toml", ".py": "template.py"}


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Writes the file, never over another, or prints the schema."""
    if len(args) != (not flags.schema):
        raise ValueError(f"expected one name, or --schema, got {args}; usage: {USAGE}")
    from experiments.studies import grid

    if flags.schema:
        print(json.dumps(grid.grid_schema(), indent=1))
        return 0
    path = Path(args[0] if Path(args[0]).suffix else f"{args[0]}.toml")
    if path.suffix not in TEMPLATES:
        raise ValueError(f"{path}: a grid to start from is a .toml file, a study a .py file")
    template = Path(grid.__file__).with_name(TEMPLATES[path.suffix]).read_text(encoding="utf-8")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(template.replace("template", path.stem))
    except FileExistsError:
        raise ValueError(f"{path} is there already; choose another name") from None
    print(f"{path}: edit it, then `isoflop plan {path}` shows its runs")
    return 0
