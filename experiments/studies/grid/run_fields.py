"""The fields that a grid can set in its runs, by dotted name, and the JSON schema of its file.

Both come from the dataclasses that runs are checked by, so a field that is new there is new here.
"""

import dataclasses
import difflib
import functools
import json
import typing
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, Literal

from experiments.config import RunConfig
from experiments.fields import Numbers
from models import FAMILIES
from models.configs.published import PUBLISHED

Schema = dict[str, Any]

BUDGETS = {  # of a run; one of them
    "n_tokens": "tokens to train on",
    "tokens_per_param": "tokens to train on, as a multiple of the model's n_params",
    "flops": "FLOPs of the whole run, forward and backward, as counted",
}
ALIKE = 0.75  # of names, as difflib measures it


def presets() -> list[str]:
    """Names of what a model can be: a family's ladder of sizes, or a published shape."""
    return [*FAMILIES, *PUBLISHED]


def run_fields() -> dict[str, Schema]:
    """The schema of every field of a run, and of its parts, by dotted name; with what grids alone have."""
    return _run_fields(tuple(FAMILIES))


@functools.cache
def _run_fields(families: tuple[str, ...]) -> dict[str, Schema]:
    """For these families: there may be the user's own."""
    found: dict[str, list[Schema]] = {
        "preset": [
            {
                "enum": presets(),
                "description": "the model: a family, sized by model.d_model, or a published shape",
            }
        ]
    }
    found |= {name: [{"type": "number", "description": about}] for name, about in BUDGETS.items()}
    for name, schema in _fields(RunConfig):
        found.setdefault(name, []).append(schema)
    return {name: _one_of(schemas) for name, schemas in found.items()}


def check_name(name: str, where: str) -> None:
    """Refuses a field that runs do not have.

    Raises:
      ValueError: there is no such field; the nearest one is named.
    """
    parents = (name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1))
    named_by_the_user = any(_of(parent).get("additionalProperties") for parent in parents)
    if name not in run_fields() and not named_by_the_user:
        raise ValueError(f"{where}: runs have no field {name!r}; {_hint(name)}")


def _of(name: str) -> Schema:
    return run_fields().get(name, {})


def _hint(name: str) -> str:
    """The field that was meant, or what there is in its place."""
    parent, _, last = name.rpartition(".")
    there = {each.rpartition(".")[2]: each for each in run_fields() if each.rpartition(".")[0] == parent}
    same = [each for each in run_fields() if each.rpartition(".")[2] == last]
    if parent and there:
        near = [there[each] for each in difflib.get_close_matches(last, there, n=1, cutoff=ALIKE)]
    else:
        near = difflib.get_close_matches(name, same or run_fields(), n=1, cutoff=0 if same else ALIKE)
    if near:
        return f"did you mean {near[0]!r}?"
    known = there.values() if parent and there else ()
    return f"there are {', '.join(known)}" if known else "`isoflop init --schema` has them all"


def table_schema(leaf: Callable[[Schema], Schema]) -> Schema:
    """The schema of a table of fields: nested, or under dotted names.

    Args:
      leaf: the schema of what a field is given, of the field's own; a list of values in `vary`.
    """
    nested = _nested("", leaf)
    dotted = {name: leaf(schema) for name, schema in run_fields().items() if "." in name}
    return nested | {"properties": nested["properties"] | dotted}


def _nested(prefix: str, leaf: Callable[[Schema], Schema]) -> Schema:
    properties = {}
    for name, schema in run_fields().items():
        parent, _, child = name.rpartition(".")
        if parent == prefix:
            below = any(other.startswith(f"{name}.") for other in run_fields())
            table = [_nested(name, leaf)] if below else []
            properties[child] = _one_of([leaf(schema), *table])
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _fields(kind: type, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """(dotted name, schema) of the fields of a dataclass and of those in them."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name, by = prefix + field.name, field.metadata.get("by")
        kinds = list(by[1].values()) if by else _kinds(hints[field.name])
        schemas = [_schema(each) for each in kinds]
        default = {} if field.default in (dataclasses.MISSING, None) else _default(field.default)
        yield name, _one_of(schemas) | default
        for each in {each: None for each in kinds if dataclasses.is_dataclass(each)}:
            yield from _fields(typing.cast(type, each), f"{name}.")


def _default(value: Any) -> Schema:
    """A default as JSON has it; {} where it has none, as of infinity."""
    try:
        return {"default": json.loads(json.dumps(value, allow_nan=False))}
    except (TypeError, ValueError):
        return {}


def _kinds(hint: Any) -> list[Any]:
    """The types that a field may have."""
    union = typing.get_origin(hint) not in (None, tuple, Literal) and typing.get_args(hint)
    return list(union) if union else [hint]


def _schema(kind: Any) -> Schema:
    if dataclasses.is_dataclass(kind):
        about = (kind.__doc__ or "").strip().split("\n")[0]
        hints = typing.get_type_hints(kind)
        fields = {field.name: _one_of([_schema(k) for k in _kinds(hints[field.name])])
                  for field in dataclasses.fields(kind)}  # fmt: skip
        return {"type": "object", "description": about, "properties": fields, "additionalProperties": False}
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": _one_of([_schema(k) for k in _kinds(typing.get_args(kind)[0])])}
    if typing.get_origin(kind) is Literal:
        return {"enum": list(typing.get_args(kind))}
    if kind is Numbers:
        return {"type": "object", "additionalProperties": {"type": "number"}}
    return {"type": {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}[kind]}


def _one_of(schemas: list[Schema]) -> Schema:
    """The schema of what fits any of these."""
    different = [each for i, each in enumerate(schemas) if each not in schemas[:i]]
    return different[0] if len(different) == 1 else {"anyOf": different}
