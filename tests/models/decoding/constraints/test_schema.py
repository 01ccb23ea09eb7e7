"""What the engine would let pass is refused by name, or rewritten so that it cannot pass."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models.decoding.constraints.schema import _none_of, enforceable

NOTHING_INFINITE = [
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
    {"type": "object", "properties": {"next": {"$ref": "#"}}},
    {"properties": {"next": {"$ref": "#"}}, "required": ["next"]},  # a document need not be an object
    {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 2}]},
    {"type": "object", "properties": {"a/b~": {"type": "null"}}, "required": ["a/b~"]},
]
INFINITE = [
    ({"$ref": "#"}, "#"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "#"),
    ({"type": "array", "prefixItems": [True, {"$ref": "#"}], "minItems": 2}, "#"),
    ({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}, "#"),
    ({"allOf": [True, {"$ref": "#"}]}, "#"),
    (
        {
            "properties": {"x": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
        },
        "#/properties/x",
    ),
]


@pytest.mark.parametrize("schema", NOTHING_INFINITE)
def test_recursion_that_can_end_is_allowed(schema):
    assert str(enforceable(schema)).count("$ref") == str(schema).count("$ref")  # it is kept


@pytest.mark.parametrize("schema, place", INFINITE)
def test_a_part_that_never_ends_is_named(schema, place):
    with pytest.raises(ValueError, match=f"^schema {re.escape(place)}: .*infinite"):
        enforceable(schema)


@pytest.mark.parametrize(
    "schema, message",
    [
        ({"properties": {"a": {"uniqueItems": True}}}, "schema #/properties/a: keyword 'uniqueItems'"),
        ({"items": {"dependentRequired": {}}}, "schema #/items: keyword 'dependentRequired'"),
        ({"typ": "string"}, "keyword 'typ'"),
        ({"type": "string", "nullable": True}, "keyword 'nullable'"),
        ({"not": {}}, "keyword 'not'"),
        ({"if": {}, "then": {}}, "keyword 'if'"),
        ({"type": "string", "format": "date"}, "format 'date'"),
        ({"patternProperties": {"^a": True}}, "patternProperties"),
        ({"type": "object", "required": ["a"], "minProperties": 3}, "minProperties=3"),
        ({"properties": {'"': {"type": "string"}}}, "the key '\"', with a quote"),
        ({"required": ["a", "b\\\\"]}, "is enforced only where additionalProperties is false"),
        ({"minimum": 1, "exclusiveMinimum": True}, "exclusiveMinimum=True"),
        ({"items": [True]}, "prefixItems"),
        ({"maxLength": 1.5}, "maxLength=1.5"),
        ({"type": "int"}, "type='int'"),
        ({"$ref": "#/$defs/a"}, "nothing is there"),
        ({"$ref": "other.json"}, "nothing is there"),
        ({"required": "a"}, "required='a'"),
        ({"properties": {"a": 3}}, "#/properties/a=3"),
        ({"anyOf": {}}, "#/anyOf={}"),
        ([], "#=\\[\\]"),
        ({"$ref": ["#"]}, "it must be a string"),
        ({"format": {}}, "it must be a string"),
        ({"exclusiveMinimum": 0, "maximum": 0.5}, "exclusiveMinimum=0 is not enforced beside maximum=0.5"),
        ({"minimum": -1.5, "exclusiveMaximum": -1}, "exclusiveMaximum=-1 is not enforced beside minimum"),
        ({"exclusiveMinimum": 1, "allOf": [{"maximum": 1.5}]}, "exclusiveMinimum=1 is not enforced beside"),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(schema, message):
    with pytest.raises(ValueError, match=message):
        enforceable(schema)


def test_data_within_a_schema_are_not_taken_for_schemas():
    data = {"uniqueItems": True, "$ref": "nowhere"}
    schema = {"const": data, "default": data, "examples": [data], "title": "not", "$comment": "if"}
    assert enforceable(schema) == schema


@given(
    st.lists(st.text("ab/\\]^-é ", max_size=3), unique=True, max_size=4), st.text("ab/\\]^-é x", max_size=4)
)
def test_keys_that_are_not_listed_as_a_pattern(names, key):
    pattern = re.sub(r"\\x\{([0-9a-f]+)\}", lambda m: f"\\U{int(m[1], 16):08x}", _none_of(names))
    assert bool(re.fullmatch(pattern, key)) == (key not in names)
