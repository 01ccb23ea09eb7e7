"""Configurations as JSON and back: frozen dataclasses of dataclasses, checked field by field.

Own code, and not cattrs, dacite or msgspec: the JSON is hashed into run ids, so fields that came later are
left out at their defaults; every error names the path, what is allowed and the nearest name; 1e6 is an
integer; and a union is decided by "family" or "kind". In such a library each of these is a hook of one's own.
"""

import contextlib
import dataclasses
import difflib
import functools
import json
import math
import re
import typing
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")

SUFFIXES = {"k": "e3", "m": "e6", "b": "e9", "g": "e9", "t": "e12", "p": "e15"}  # of numbers of people

# Metadata of a field that was added later: at its default it is left out of the JSON, so that configurations
# from before it keep their run ids.
ADDED_LATER = {"later": True}
# Metadata "by" of a field that holds one of several dataclasses: the name of the field that tells them apart,
# such as "family", and the dataclass of each of its values.


SCALARS = frozenset((int, float, str, bool, NoneType))  # types that JSON has as they are


class Numbers(dict[str, float]):
    """Numbers by names that the user chooses, as a field of a frozen dataclass: not to be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as nested dicts and lists of JSON's types; `from_json` gives the equal one back."""
    return _plain(config)


def json_by_field(config: Any) -> dict[str, tuple[Any, str]]:
    """Every field of `to_json(config)`, with its text of sorted names; not to be changed.

    A grid may have 10,000 runs, most of whose parts are the same objects: each is converted once.
    """
    return {
        name: (value, str(value)) if type(value) is int else _converted(_Itself(value))
        for name, value in _fields_of(config)
    }


sorted_json = json.JSONEncoder(sort_keys=True).encode  # as json.dumps, which makes an encoder every time


class _Itself:
    """A key that equals no other object's: in JSON 1, 1.0 and true differ."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: Any) -> bool:
        return self.value is other.value


@functools.lru_cache(1024)
def _converted(of: _Itself) -> tuple[Any, str]:
    plain = _plain(of.value)
    return plain, sorted_json(plain)


def _fields_of(config: Any) -> list[tuple[str, Any]]:
    """Names and values, without what came later and is at its default."""
    values, added = vars(config), _added_later(type(config))
    return [
        (name, values[name])
        for name in config.__dataclass_fields__
        if name not in added or values[name] != added[name]
    ]


@functools.cache
def _added_later(kind: type) -> dict[str, Any]:
    """The defaults of fields that are left out at them."""
    return {field.name: field.default for field in dataclasses.fields(kind) if field.metadata.get("later")}


def _plain(value: Any) -> Any:
    """As a round trip through JSON would leave it, at a tenth of the time: a study may have 10,000 runs."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is Numbers:
        return {name: float(number) for name, number in value.items()}
    if hasattr(kind, "__dataclass_fields__"):
        pairs = _fields_of(value)
        return {name: item if type(item) in SCALARS else _plain(item) for name, item in pairs}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return json.loads(json.dumps(value))


def from_json(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """Builds the dataclass `kind` from a nested dict (as read from JSON).

    Raises:
      ValueError: an unknown or missing field, or a value of the wrong type, named with its path.
    """
    hints = _type_hints(kind)
    where = where or kind.__name__
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object with fields {list(hints)}, got {values!r}")
    for name in values:
        if name not in hints:
            raise ValueError(unknown_field(where, name, hints))
    built = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        path = f"{where}.{field.name}"
        if field.name in values:
            value = values[field.name]
            if "by" not in field.metadata:
                built[field.name] = _convert(hints[field.name], value, path)
            elif value is None and field.default is None:
                built[field.name] = None
            else:
                name, kinds = field.metadata["by"]
                built[field.name] = _part(_one_of(name, kinds, value, path), value, path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{path} is missing; {where} needs it")
    return kind(**built)


def apply_overrides(config: T, overrides: list[str]) -> T:
    """`config` with "a.b=value" assignments applied; values are JSON, anything else is a string.

    Raises:
      ValueError: no "=", an unknown field (the nearest name is suggested) or a value of the wrong type.
    """
    values = json.loads(json.dumps(dataclasses.asdict(config)))  # type: ignore[call-overload]
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"--set {override}: expected FIELD=VALUE, for example seed=1")
        *parents, last = path.split(".")
        parent, node, kind, where, at = {}, values, type(config), type(config).__name__, ""
        for name in [*parents, last]:
            if node is None and kind is not None:  # a part that was left out begins with its defaults
                node = parent[at] = {}
            if not isinstance(node, dict):
                raise ValueError(f"--set {override}: {where} is a value and has no fields")
            hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
            if name not in node and name not in hints and kind is not Numbers:
                raise ValueError(f"--set {override}: {unknown_field(where, name, {**hints, **node})}")
            parent, node, where, at = node, node.get(name), f"{where}.{name}", name
            kind = _with_fields(hints.get(name))
        try:
            parent[last] = json.loads(text)
        except json.JSONDecodeError:
            parent[last] = text
    return from_json(type(config), values)


def number_of(text: str) -> float:
    """A number as people write it: 7B, 7.1M, 1e9, 3T, 3,000 or 3_000, as in the page's calculator.

    Raises:
      ValueError: it is none.
    """
    digits, power = text.strip(), ""
    if (last := digits[-1:].lower()) in SUFFIXES:
        digits, power = digits[:-1].rstrip(), SUFFIXES[last]
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", digits):
        digits = digits.replace(",", "")
    try:
        number = float(digits + power)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{text!r} is not a number; write 1e9, 7B, 7.1M, 3T or 3,000")
    return number


def default(kind: type, values: dict[str, Any], name: str) -> Any:
    """What a field of dotted name is that the JSON of a `kind` leaves out: its default; None where the
    configuration has no such part."""
    first, _, rest = name.partition(".")
    field = getattr(kind, "__dataclass_fields__", {}).get(first)
    if field is None:
        return None
    if not rest:
        return None if field.default is dataclasses.MISSING else field.default
    if not isinstance(part := values.get(first), dict):
        return None
    if "by" in field.metadata:
        by, kinds = field.metadata["by"]
        return default(kinds.get(part.get(by)), part, rest)
    return default(_with_fields(typing.get_type_hints(kind)[first]), part, rest)


def did_you_mean(name: str, known: typing.Iterable[str], shown: typing.Iterable[str] = ()) -> str:
    """The nearest known name in a question, "did you mean 'adamw'?"; where none is near, the names that are
    `shown`, by default all that are known."""
    known = [*known]
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join([*shown] or known)}"


def unknown_field(where: str, name: str, known: typing.Iterable[str]) -> str:
    """One line that names the unknown field and the nearest known one."""
    return f"{where} has no field {name!r}; {did_you_mean(name, known)}"


_type_hints = functools.cache(typing.get_type_hints)  # a grid may have 100,000 runs


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field of a configuration by its dotted name, at defaults too; a part that is None is such a
    value."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        found |= flat(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: _plain(value)}
    return found


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type; 1e6 and "7M" are integers too, and 1 is a float."""
    if type(value) is hint and hint in (int, str, bool):
        return value
    if dataclasses.is_dataclass(hint):
        return _part(typing.cast(type, hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, UnionType):
        # None or one other type; several dataclasses are told apart by a field's "by".
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None and NoneType in arguments else _convert(kind, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is Numbers and isinstance(value, dict):
        return Numbers({name: _convert(float, number, f"{where}.{name}") for name, number in value.items()})
    if origin is Literal:
        if value in arguments:
            return value
        raise ValueError(f"{where}={value!r}; allowed are {', '.join(map(repr, arguments))}")
    if hint in (int, float) and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = number_of(value)
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{where}={value!r}; it is not a number")
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    expected = getattr(hint, "__name__", str(hint))
    raise ValueError(f"{where}={value!r}; expected a value of type {expected}")


def _with_fields(hint: Any) -> Any:
    """The dataclass, or Numbers, of a field's annotation that is one or None; else None."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not NoneType]
    found = kinds[0] if len(kinds) == 1 else None
    return found if found is Numbers or dataclasses.is_dataclass(found) else None


def _part(kind: type, value: Any, where: str) -> Any:
    """`from_json` of a part; of a grid's runs most are equal, and those are one object."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # no JSON, which the errors of `from_json` tell
        return from_json(kind, value, where)
    return _part_of_text(kind, text, where)


@functools.lru_cache(1024)
def _part_of_text(kind: type, text: str, where: str) -> Any:
    return from_json(kind, json.loads(text), where)


def _one_of(name: str, kinds: dict[str, type], value: Any, where: str) -> type:
    """The dataclass that the field `name` of `value` says; by default the first."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object with a field {name!r}, got {value!r}")
    kind = value.get(name, next(iter(kinds)))
    if not isinstance(kind, str) or kind not in kinds:
        own = (
            " (code of your own runs only if you name its file: --code FILE.py)"
            if ".py:" in str(kind)
            else ""
        )
        raise ValueError(f"{where}.{name}={kind!r}; allowed are {', '.join(map(repr, kinds))}{own}")
    return kinds[kind]
