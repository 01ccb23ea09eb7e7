"""Masks let through exactly the beginnings of valid texts, token by token."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.decoding.constraints.masks import Vocabulary, choice, grammar, json_schema, masks_for, regex

BYTES = [b"", b"", b""] + [bytes([i]) for i in range(256)]
VOCABULARY = Vocabulary([*BYTES, b'{"', b'":', b"title", b'tle"'], 1)
GOLDEN = [json.loads(line) for line in Path("tests/data/schemas.jsonl").read_text().splitlines()]


def allowed(progress) -> set[int]:
    masks = masks_for(1, VOCABULARY.size)
    progress.allowed(masks, 0)
    bits = np.unpackbits(masks.view(np.uint8), bitorder="little")[: VOCABULARY.size]
    return set(np.flatnonzero(bits).tolist())


def accepts(constraint, text: str) -> bool:
    """Whether the masks let the text pass, byte by byte, and then its end."""
    progress = constraint.start()
    for byte in text.encode():
        if byte + 3 not in allowed(progress):
            return False
        progress.take(byte + 3)
    assert progress.complete == (1 in allowed(progress))
    return progress.complete


@pytest.mark.parametrize("one", GOLDEN, ids=lambda one: one["id"])
def test_valid_documents_pass_and_invalid_ones_do_not(one):
    constraint = json_schema(one["schema"], VOCABULARY)
    for document in one["valid"]:
        assert accepts(constraint, json.dumps(document))
        assert accepts(constraint, json.dumps(document, separators=(",", ":")))
    for document in one["invalid"]:
        assert not accepts(constraint, json.dumps(document))


def test_a_listed_key_cannot_come_again_by_another_spelling():
    schema = {"properties": {"a": {"type": "integer"}, "b/": True}, "additionalProperties": {"type": "null"}}
    constraint = json_schema({"type": "object"} | schema, VOCABULARY)
    assert accepts(constraint, '{"a": 1, "b/": 2, "c": null, "": null, "\\n": null}')
    for text in ('{"\\u0061": null}', '{"a": null}', '{"a": 1, "a": null}', '{"b\\/": null}', '{"c": 1}'):
        assert not accepts(constraint, text)
    missing = {"type": "object", "properties": {"a": True}, "required": ["z"]}
    assert accepts(json_schema(missing, VOCABULARY), '{"z": 1}')
    assert not accepts(json_schema(missing, VOCABULARY), '{"a": 1}')
    required = {"type": "object", "required": ["z"], "additionalProperties": {"type": "integer"}}
    assert accepts(json_schema(required, VOCABULARY), '{"z": 1, "a": 2}')
    assert not accepts(json_schema(required, VOCABULARY), '{"z": 1, "z": 2}')


def test_keys_that_need_escapes_are_enforced_in_closed_objects():
    schema = {"type": "object", "properties": {'"\\': {"type": "string"}}, "additionalProperties": False}
    constraint = json_schema(schema, VOCABULARY)
    assert accepts(constraint, json.dumps({'"\\': "x"})) and not accepts(constraint, json.dumps({'"\\': 1}))


@pytest.mark.parametrize("low, high", [(0, 1), (0.5, 0.75), (-0.25, 0), (2, 3.5), (-3.5, -2), (-1, 1)])
def test_a_bound_that_is_excluded_does_not_pass(low, high):
    schema = {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}
    constraint = json_schema(schema, VOCABULARY)
    assert accepts(constraint, str((low + high) / 2 + 1 / 16))
    assert not any(
        accepts(constraint, f"{bound}{zeros}") for bound in (low, high) for zeros in ("", ".0", "0")
    )


def test_every_way_of_cutting_a_text_into_tokens_is_allowed():
    schema = {"type": "object", "properties": {"title": {"const": 1}}, "required": ["title"]}
    progress = json_schema(schema | {"additionalProperties": False}, VOCABULARY).start()
    byte, names = {text: 3 + ord(text) for text in '{"t1,'}, {'{"': 259, '":': 260, "title": 261, 'tle"': 262}
    assert allowed(progress) == {byte["{"], names['{"']}
    progress.take(names['{"'])
    assert allowed(progress) == {byte["t"], names["title"]}
    progress.take(byte["t"])
    progress.take(3 + ord("i"))
    assert allowed(progress) == {byte["t"], names['tle"']}
    assert not progress.complete
    with pytest.raises(ValueError, match="token 5 is not allowed"):
        progress.take(5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: json_schema({"type": "integer", "minimum": 5, "maximum": 3}, VOCABULARY), "minimum"),
        (lambda: json_schema(False, VOCABULARY), "schema is false"),
        (lambda: json_schema({"type": "string", "pattern": "(?=a)"}, VOCABULARY), "look-around"),
        (lambda: json_schema({"oneOf": [{"type": "integer"}, {"const": 1}]}, VOCABULARY), "write anyOf"),
        (lambda: json_schema({"type": "array", "items": False, "minItems": 1}, VOCABULARY), "required item"),
        (lambda: regex("[^\\s\\S]", VOCABULARY), "cannot be satisfied"),
        (lambda: regex("(", VOCABULARY), "unclosed group"),
        (lambda: grammar("start: other", VOCABULARY), '"other"'),
        (lambda: grammar('root ::= "a" other', VOCABULARY), "'other'"),
        (lambda: choice([], VOCABULARY), "at least one"),
        (lambda: Vocabulary(BYTES[:-1], 1), "a token for every byte.*xff"),
        (lambda: Vocabulary(BYTES, 259), "eos_id=259"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
