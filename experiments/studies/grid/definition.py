"""A grid file: TOML, YAML or JSON, read into a Grid and checked as far as it can be without its runs."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from experiments.fields import did_you_mean, from_json, unknown_field
from experiments.files import user_code
from experiments.studies.grid.run_fields import BUDGETS, check_name, presets, table_schema
from experiments.studies.study import check_statistics
from scaling.table.expression import Expression, parse

STAGES = ("tune", "grid", "verify")
MAX_SEEDS = 100_000
MIN_RATES = 3  # of a sweep whose best rate is to be found
Fields = Mapping[str, Any]  # values, or lists of them, by dotted name


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3 for text, as it has no point; people mean the number."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Options:
    """What a grid says besides its fields.

    stages: "grid" alone, or with "tune" before it, which tries the rates of vary.optimizer.lr at small sizes
      and gives every run of the grid the rate that they extrapolate to, or "verify" after it, which predicts
      the loss of a larger run and trains it.
    tune_sizes: how many of the smallest models are tuned.
    verify_factor: FLOPs of the larger run, by the largest of the grid.
    n_bootstrap: resamples that intervals are from.
    level: of intervals.
    """

    stages: tuple[str, ...] = ("grid",)
    tune_sizes: int = 3
    verify_factor: float = 8.0
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        in_order = tuple(stage for stage in STAGES if stage in self.stages)
        if self.stages != in_order or "grid" not in self.stages:
            raise ValueError(
                f"grid: stages={list(self.stages)}; it is 'grid', with 'tune' before it or 'verify' after it"
            )
        if self.tune_sizes < 2:
            raise ValueError(f"grid: tune_sizes={self.tune_sizes}; a law of the rate takes 2 sizes or more")
        if not 1 < self.verify_factor < math.inf:
            raise ValueError(
                f"grid: verify_factor={self.verify_factor}; it must be larger than 1, and finite"
            )
        check_statistics(self.level, self.n_bootstrap)


@dataclass(frozen=True)
class Grid:
    """A grid.

    base: fields of every run. vary: lists of values, of which every combination is a run. zip: lists that go
    together, value by value. where: conditions that hold for all runs; other combinations are left out.
    seeds: of each combination; () leaves the seed to base, vary or zip.
    """

    base: Fields
    vary: Fields = field(default_factory=dict)
    zip: Fields = field(default_factory=dict)
    where: tuple[Expression, ...] = ()
    seeds: tuple[int, ...] = ()
    options: Options = Options()

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the fields that vary."""
        return (*self.vary, *self.zip, *(("seed",) if self.seeds else ()))


KEYS = ("base", "vary", "zip", "where", "seeds", *Options.__dataclass_fields__)


def read_grid(name: str, text: str, overrides: list[str]) -> Grid:
    """The grid that a file defines.

    Args:
      name: of the file; its suffix says how to read it.
      text: its content.
      overrides: FIELD=VALUE each, of the grid (seeds=3, vary.optimizer.lr=[0.01]) or, where it has no such
        key, of its base (optimizer.lr=0.01).

    Raises:
      ValueError: it cannot be read, or says what no run could be.
    """
    document = _document(name, text)
    for key in document:
        if key not in KEYS:
            hint = unknown_field(name, key, KEYS)
            raise ValueError(f"{hint}; fields of runs are in base, vary or zip")
    tables = {key: _flat(document.pop(key, {}), f"{name}: {key}") for key in ("base", "vary", "zip")}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"--set {override}: expected FIELD=VALUE, for example seeds=3")
        key, _, rest = path.partition(".")
        if key in tables and not rest:
            raise ValueError(f"--set {override}: of {key} set a field, as in {key}.optimizer.lr=…")
        if key in tables:
            _set(tables[key], rest, _value(text))
        elif key in KEYS and not rest:
            document[key] = _value(text)
        else:
            _set(tables["base"], path, _value(text))
    where, seeds = document.pop("where", []), document.pop("seeds", [])
    where = [where] if isinstance(where, str) else where
    if not isinstance(where, list) or not all(isinstance(each, str) for each in where):
        raise ValueError(f"{name}: where={where!r}; give a condition in quotes, or a list of them")
    if type(seeds) is int and 1 <= seeds <= MAX_SEEDS:
        seeds = list(range(seeds))
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise ValueError(f"{name}: seeds={seeds!r}; give how many, 1 to {MAX_SEEDS:,}, or a list of integers")
    grid = Grid(
        **tables,
        where=tuple(parse(each) for each in where),
        seeds=tuple(seeds),
        options=from_json(Options, document, "grid"),
    )
    _check(grid)
    return grid


def grid_schema() -> dict[str, Any]:
    """The JSON schema of a grid file."""
    values = {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "array", "items": {"type": "integer"}}]}
    condition = {"type": "string"}
    options = from_json(Options, {}, "grid")
    fields = table_schema(lambda schema: schema)
    lists = table_schema(lambda schema: {"type": "array", "minItems": 1, "items": schema})
    properties = {
        "base": {
            "description": "Fields of every run, or the name of a preset.",
            "anyOf": [{"enum": presets()}, fields],
        },
        "vary": {"description": "Lists of values; every combination is a run."} | lists,
        "zip": {"description": "Lists of one length that go together, value by value."} | lists,
        "where": {
            "description": "Conditions that hold for all runs, such as 'optimizer.lr * model.d_model < 1'.",
            "anyOf": [condition, {"type": "array", "items": condition}],
        },
        "seeds": {"description": "How many seeds each combination has, or which."} | values,
        "stages": {"type": "array", "items": {"enum": list(STAGES)}, "default": list(options.stages)},
        "tune_sizes": {"type": "integer", "minimum": 2, "default": options.tune_sizes},
        "verify_factor": {"type": "number", "exclusiveMinimum": 1, "default": options.verify_factor},
        "n_bootstrap": {"type": "integer", "minimum": 1, "default": options.n_bootstrap},
        "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": options.level},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A grid of runs for isoflop",
        "type": "object",
        "properties": properties,
        "required": ["base"],
        "additionalProperties": False,
    }


def _document(name: str, text: str) -> dict[str, Any]:
    """The content as plain values, names of the user's own code as configurations have them."""
    try:
        if name.endswith(".toml"):
            found = tomllib.loads(text)
        else:
            found = json.loads(text) if name.endswith(".json") else _yaml(text)
        found = user_code.qualified(json.loads(json.dumps(found)))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected the keys {', '.join(KEYS)}, got {found!r:.60}")
    if isinstance(found.get("base"), str):
        found["base"] = {"preset": found["base"]}
    return found


def _yaml(text: str) -> Any:
    """Without aliases, of which a page can stand for more than memory holds."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise ValueError("aliases (*name) are not taken; write the values out")
    return yaml.load(text, _Yaml)


def _flat(table: Any, where: str) -> dict[str, Any]:
    """Nested tables as dotted names."""
    if not isinstance(table, dict):
        raise ValueError(f"{where}={table!r:.60}; expected a table of fields of runs")
    found: dict[str, Any] = {}
    for name, value in table.items():
        nested = _flat(value, where) if isinstance(value, dict) and value else {"": value}
        for rest, leaf in nested.items():
            _set(found, f"{name}.{rest}" if rest else name, leaf, where)
    return found


def _set(table: dict[str, Any], name: str, value: Any, where: str = "") -> None:
    """Sets a field; one that is written twice, nested and with dots, is refused where `where` is given."""
    if where and name in table:
        raise ValueError(f"{where}: {name} is there twice")
    table[name] = value


def _value(text: str) -> Any:
    """JSON, anything else as the text it is."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _check(grid: Grid) -> None:
    """Refuses what no combination could mend."""
    for where, table in (("base", grid.base), ("vary", grid.vary), ("zip", grid.zip)):
        for name, values in table.items():
            check_name(name, where)
            if where != "base" and (not isinstance(values, list) or not values):
                raise ValueError(f"{where}.{name}={values!r:.60}; give a list of values")
    base = [grid.base["preset"]] if "preset" in grid.base else []
    for preset in (*base, *grid.vary.get("preset", []), *grid.zip.get("preset", [])):
        if preset not in presets():
            file, own, _ = str(preset).partition(".py:")
            said = user_code.not_run(f"{file}.py") if own else did_you_mean(str(preset), presets())
            raise ValueError(f"no preset {preset!r}; {said}")
    names = grid.swept
    for name in names:
        inside = [other for other in names if other != name and other.startswith(f"{name}.")]
        if names.count(name) > 1 or inside:
            raise ValueError(f"{name} varies twice ({', '.join(inside or [name])}); keep one of them")
    lengths = {name: len(values) for name, values in grid.zip.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"zip: {lengths}; lists that go together have one length")
    for where, table in (("base", grid.base), ("vary and zip", [*grid.vary, *grid.zip])):
        budgets = [name for name in BUDGETS if name in table]
        if len(budgets) > 1:
            raise ValueError(f"{where}: {' and '.join(budgets)}; a run has one budget, so keep one of them")
    if "tune" in grid.options.stages:
        if len(grid.vary.get("optimizer.lr", ())) < MIN_RATES:
            raise ValueError(
                f"stage 'tune' tries the rates of vary.optimizer.lr at small sizes; give {MIN_RATES} or more"
            )
        for condition in grid.where:
            if "optimizer.lr" in condition.names:
                raise ValueError(
                    f"where: {condition.text!r} reads optimizer.lr, which stage 'tune' is to find"
                )
