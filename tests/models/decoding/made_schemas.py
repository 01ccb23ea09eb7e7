"""JSON schemas made by hypothesis, of the keywords that `models.decoding.constraints.schema` enforces."""

import hypothesis.strategies as st

NAMES = st.sampled_from(["a", "ab", "b", "", "id", "é", 'q"', "x/y", "~", "a b", "\n", "length"])
PATTERNS = ["^[a-c]{1,4}$", "^\\d{2}-\\d{2}$", "^(yes|no)?$", "x", '^[^\\s"]{0,5}$', "^.$"]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=4))


@st.composite
def numbers(draw) -> dict:
    """Integers or numbers, with bounds that leave some."""
    schema: dict = {"type": draw(st.sampled_from(["integer", "number"]))}
    low, high = sorted([draw(st.integers(-200, 200)), draw(st.integers(-200, 200))])
    if draw(st.booleans()):
        schema |= {draw(st.sampled_from(["minimum", "exclusiveMinimum"])): low - 6}
    if draw(st.booleans()):
        schema |= {draw(st.sampled_from(["maximum", "exclusiveMaximum"])): high + 6}
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 5)) if schema["type"] == "integer" else 0.25
    return schema


@st.composite
def strings(draw) -> dict:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    if kind == 1:
        return {"type": "string", "format": draw(st.sampled_from(["ipv4", "uuid"]))}
    least, more = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    return {"type": "string", "minLength": least} | ({"maxLength": least + more} if kind == 2 else {})


@st.composite
def arrays(draw, inner) -> dict:
    schema: dict = {"type": "array", "items": draw(st.one_of(inner, st.just(False)))}
    least, more = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=2))
    if schema["items"] is False:
        least = min(least, len(schema.get("prefixItems", [])))
    return schema | {"minItems": least} | ({"maxItems": least + more} if draw(st.booleans()) else {})


@st.composite
def objects(draw, inner) -> dict:
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = draw(st.lists(NAMES, unique=True, max_size=2))
    schema: dict = {"type": "object", "properties": properties}
    others = draw(st.one_of(st.just(False), st.booleans(), inner))
    if others is False:
        required = [name for name in required if name in properties]
    else:  # where such a key is refused
        properties.pop('q"', None)
        required = [name for name in required if name != 'q"']
    if not properties and others is not False:
        schema["minProperties"] = draw(st.integers(0, len(required) + 1))
    return schema | {"required": required, "additionalProperties": others}


def recursive(schema: dict) -> dict:
    """A tree whose leaves are documents of the schema."""
    tree = {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}
    return {"$ref": "#/$defs/tree", "$defs": {"tree": {"anyOf": [schema, tree]}}}


SIMPLE = st.one_of(
    numbers(),
    strings(),
    st.just({"type": "boolean"}),
    st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, SCALARS),
)
SCHEMAS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        arrays(inner),
        objects(inner),
        objects(inner),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)
SCHEMAS = st.one_of(SCHEMAS, SCHEMAS, SCHEMAS, st.builds(recursive, SIMPLE))
