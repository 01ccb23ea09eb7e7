"""JSON schemas (draft 2020-12) as the mask engine enforces them, to the letter; all else is refused by name.

The engine passes over keywords that it does not know, compiles schemas that no finite document satisfies,
lets 0 pass where numbers are to be above 0 and below 1/2, and lets a key of an open object that is spelled
with escapes ("\\u0061") pass for another one than "a". The first three are refused here; against the last,
the keys of an open object are written as a pattern, which it spells plainly and without the listed names.
"""

from collections.abc import Iterator
from typing import Any

ENFORCED = {
    "type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties",
    "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "minLength",
    "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions",
}  # fmt: skip
NOTES = {
    "$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly",
    "writeOnly",
}  # fmt: skip
FORMATS = {"time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
SIZES = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

Schema = Any  # a dict, or true (anything) or false (nothing)


def enforceable(schema: Schema) -> Schema:
    """An equal schema that the engine enforces wholly.

    Raises:
      ValueError: a keyword or a use of one that it does not enforce, or a part that no finite document
        satisfies; named with its place.
    """
    parts = dict(_parts(schema, "#"))
    for place, part in parts.items():
        _check(part, place)
    finite = _finite_places(parts)
    for place, part in parts.items():
        if isinstance(part, dict) and "$ref" in part and part["$ref"] not in parts:
            raise ValueError(f"schema {place}/$ref={part['$ref']!r}: nothing is there that a schema may be")
        _check_bounds(place, parts)
        if place not in finite:
            raise ValueError(f"schema {place}: it cannot be satisfied, every document would be infinite")
    return _close(schema)


def _children(part: dict) -> Iterator[tuple[str, Schema]]:
    """The schemas directly within one, with their places below it."""
    for name in ("properties", "patternProperties", "$defs", "definitions"):
        for key, child in part.get(name, {}).items():
            yield f"{name}/{_escaped(key)}", child
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for i, child in enumerate(part.get(name, [])):
            yield f"{name}/{i}", child
    for name in ("items", "additionalProperties"):
        if name in part:
            yield name, part[name]


def _escaped(key: str) -> str:
    """A key in a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _parts(schema: Schema, place: str) -> Iterator[tuple[str, Schema]]:
    """A schema and all within it, by JSON pointer ("#" is the whole)."""
    yield place, schema
    if isinstance(schema, dict):
        _check_shape(schema, place)
        for below, child in _children(schema):
            yield from _parts(child, f"{place}/{below}")


def _check_shape(part: dict, place: str) -> None:
    """Containers of schemas are of the right kind, so that they can be walked."""
    for names, kind, word in (
        (("properties", "patternProperties", "$defs", "definitions"), dict, "an object"),
        (("anyOf", "oneOf", "allOf", "prefixItems"), list, "a list"),
        (("items", "additionalProperties"), (dict, bool), "a schema"),
    ):
        for name in names:
            if name in part and not isinstance(part[name], kind):
                hint = "; write prefixItems" if name == "items" else ""
                raise ValueError(f"schema {place}/{name}={part[name]!r}; it must be {word}{hint}")


def _check(part: Schema, place: str) -> None:
    """One schema, without those within it."""
    if not isinstance(part, (dict, bool)):
        raise ValueError(f"schema {place}={part!r}; a schema is an object, true or false")
    if isinstance(part, bool):
        return
    for name in part:
        if name not in ENFORCED | NOTES:
            known = ", ".join(sorted(ENFORCED))
            raise ValueError(f"schema {place}: keyword {name!r} is not enforced; enforced are {known}")
    for name in ("$ref", "format", "pattern"):
        if not isinstance(part.get(name), (str, type(None))):
            raise ValueError(f"schema {place}/{name}={part[name]!r}; it must be a string")
    if part.get("format") is not None and part["format"] not in FORMATS:
        raise ValueError(
            f"schema {place}: format {part['format']!r} is not enforced; there are "
            f"{', '.join(sorted(FORMATS))}, or give a pattern"
        )
    for name in NUMBERS:
        if name in part and (isinstance(part[name], bool) or not isinstance(part[name], (int, float))):
            raise ValueError(f"schema {place}/{name}={part[name]!r}; it must be a number")
    for name in SIZES:
        if name in part and (type(part[name]) is not int or part[name] < 0):
            raise ValueError(f"schema {place}/{name}={part[name]!r}; it must be an integer, at least 0")
    if not all(one in TYPES for one in _types(part)):
        raise ValueError(f"schema {place}/type={part['type']!r}; there are {', '.join(TYPES)}")
    for name in ("enum", "required"):
        if not isinstance(part.get(name, []), list):
            raise ValueError(f"schema {place}/{name}={part[name]!r}; it must be a list")
    if not all(isinstance(name, str) for name in part.get("required", [])):
        raise ValueError(f"schema {place}/required={part['required']!r}; it must be a list of strings")
    _check_object(part, place)


def _check_object(part: dict, place: str) -> None:
    open_keys = part.get("additionalProperties", True) is not False
    if "patternProperties" in part and open_keys:
        raise ValueError(
            f"schema {place}: patternProperties is enforced only where additionalProperties is false"
        )
    odd = [key for key in [*part.get("properties", {}), *part.get("required", [])] if {*key} & {*'"\\'}]
    if odd and open_keys:
        raise ValueError(
            f"schema {place}: the key {odd[0]!r}, with a quote or a backslash, is enforced only where "
            "additionalProperties is false"
        )
    required, least = set(part.get("required", [])), part.get("minProperties", 0)
    if least > len(required) + 1 and (open_keys or "patternProperties" in part):
        raise ValueError(
            f"schema {place}: minProperties={least} is not enforced, since keys that are not listed may "
            f"repeat; with {len(required)} required, at most {len(required) + 1}"
        )


def _check_bounds(place: str, parts: dict[str, Schema]) -> None:
    """A whole number that is excluded passes where the other bound is less than 1 farther from zero."""
    bounds = list(_bounds(place, parts, set()))
    for name, others, sign in (
        ("exclusiveMinimum", ("maximum", "exclusiveMaximum"), 1),
        ("exclusiveMaximum", ("minimum", "exclusiveMinimum"), -1),
    ):
        for excluded in (value for kind, value in bounds if kind == name):
            for kind, value in bounds:
                near = 0 < sign * (value - excluded) < 1 and (excluded >= 0) == (sign > 0)
                if kind in others and near and excluded == int(excluded):
                    raise ValueError(
                        f"schema {place}: {name}={excluded} is not enforced beside {kind}={value}; exclude a "
                        "number that is not whole, or give bounds 1 or more apart"
                    )


def _bounds(place: str, parts: dict[str, Schema], seen: set[str]) -> Iterator[tuple[str, float]]:
    """Bounds, by keyword, that may hold together for one number."""
    part = parts.get(place)
    if place in seen or not isinstance(part, dict):
        return
    seen.add(place)
    yield from ((name, part[name]) for name in NUMBERS if name in part)
    for name in ("allOf", "anyOf", "oneOf"):
        for i in range(len(part.get(name, []))):
            yield from _bounds(f"{place}/{name}/{i}", parts, seen)
    if "$ref" in part:
        yield from _bounds(part["$ref"], parts, seen)


def _types(part: dict) -> list[str]:
    kinds = part.get("type", list(TYPES))
    return kinds if isinstance(kinds, list) else [kinds]


def _finite_places(parts: dict[str, Schema]) -> set[str]:
    """Places of the schemas that some finite document satisfies, if any does: the least fixed point."""
    finite: set[str] = set()
    while True:
        more = {place for place, part in parts.items() if place not in finite and _ends(part, place, finite)}
        if not more:
            return finite
        finite |= more


def _ends(part: Schema, place: str, finite: set[str]) -> bool:
    """Whether a document can come to an end, given the places at which one can."""
    if isinstance(part, bool):
        return True
    for name, quantifier in (("allOf", all), ("anyOf", any), ("oneOf", any)):
        if part.get(name) and not quantifier(f"{place}/{name}/{i}" in finite for i in range(len(part[name]))):
            return False
    if "$ref" in part and part["$ref"] not in finite:
        return False
    if "const" in part or "enum" in part:
        return True
    properties, prefix = part.get("properties", {}), part.get("prefixItems", [])
    n_items = min(part.get("minItems", 0), len(prefix) + ("items" in part))
    inner = {
        "object": [f"properties/{_escaped(key)}" for key in part.get("required", []) if key in properties],
        "array": [f"prefixItems/{i}" if i < len(prefix) else "items" for i in range(n_items)],
    }
    return any(all(f"{place}/{below}" in finite for below in inner.get(kind, [])) for kind in _types(part))


def _close(schema: Schema) -> Schema:
    """The schema with open objects written as patterns of the keys that are not listed."""
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    for name in ("properties", "patternProperties", "$defs", "definitions"):
        if name in closed:
            closed[name] = {key: _close(child) for key, child in closed[name].items()}
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if name in closed:
            closed[name] = [_close(child) for child in closed[name]]
    for name in ("items", "additionalProperties"):
        if name in closed:
            closed[name] = _close(closed[name])
    others = closed.get("additionalProperties", True)
    listed = closed.get("properties", {})
    missing = [key for key in closed.get("required", []) if key not in listed]
    if (listed or missing) and others is not False:
        closed["properties"] = listed | dict.fromkeys(missing, others)
        closed["patternProperties"] = {f"^(?:{_none_of(list(closed['properties']))})$": others}
        closed["additionalProperties"] = False
    return closed


def _none_of(names: list[str]) -> str:
    """A regular expression of every string but these."""
    tails: dict[str, list[str]] = {}
    for name in names:
        if name:
            tails.setdefault(name[0], []).append(name[1:])
    if not tails:
        return r"[\s\S]+" if names else r"[\s\S]*"
    first = "".join(f"\\x{{{ord(char):x}}}" for char in sorted(tails))
    ways = [rf"[^{first}][\s\S]*"]
    ways += [f"\\x{{{ord(char):x}}}(?:{_none_of(rest)})" for char, rest in sorted(tails.items())]
    return "|".join(ways if "" in names else [*ways, ""])
