"""Stops: where texts are cut, that nothing leaks before it is certain, and JSON that is cut short."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models.decoding.stop import DecodedText, StopCriteria, json_state

BYTES = [bytes([i]) for i in range(256)]
LETTERS = st.text(alphabet="abé€", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def shown(pieces: list[bytes], stops: tuple[str, ...], every: int) -> tuple[list[str], DecodedText, int]:
    """What is shown after each `every` tokens and at the end; the text; how many tokens it took."""
    text, new, taken = DecodedText(pieces, stops), [], 0
    for token in range(len(pieces)):
        taken += 1
        if text.add(token):
            break
        if taken % every == 0:
            new.append(text.new_text())
    return [*new, text.new_text(ended=True)], text, taken


def by_characters(whole: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The same cut, by looking at the text character by character."""
    for end in range(1, len(whole) + 1):
        complete = [stop for stop in stops if whole[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return whole[: end - len(stop)], stop
    return whole, None


@given(LETTERS, st.lists(LETTERS.filter(bool), max_size=3), st.data())
def test_a_text_is_cut_at_its_first_stop_however_tokens_split_it(whole, stops, data):
    raw, stops = whole.encode(), tuple(stops)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)])]
    new, text, _ = shown(pieces, stops, every=data.draw(st.integers(1, 3)))
    assert (str(text), text.stop) == by_characters(whole, stops)
    assert "".join(new) == str(text)  # so nothing was shown that is not in the text
    assert not any(stop in str(text) for stop in stops)


def test_what_may_become_a_stop_waits_and_comes_when_it_does_not():
    text = DecodedText(BYTES, ("END",))
    for byte in b"an E":
        text.add(byte)
    assert text.new_text() == "an "
    text.add(ord("N"))
    assert text.new_text() == ""
    text.add(ord("!"))
    assert text.new_text() == "EN!"
    text.add(ord("E"))
    assert text.new_text() == "" and text.new_text(ended=True) == "E"  # cut by length, it was no stop


def test_half_a_character_is_never_shown():
    new, text, _ = shown([b"\xe2\x82", b"\xac", b"\xf0\x9f"], (), every=1)
    assert new == ["", "€", "", ""] and str(text) == "€"


def test_the_token_that_completes_the_stop_is_the_last():
    _, text, taken = shown([b"a\n", b"\nQ: b", b"c"], ("\n\nQ:",), every=9)
    assert (str(text), text.stop, taken) == ("a", "\n\nQ:", 2)


@given(JSON, st.sampled_from([None, 1]))
def test_json_is_complete_and_its_beginnings_are_cut(value, indent):
    whole = json.dumps(value, indent=indent, ensure_ascii=False)
    assert json_state(whole) == json_state(f" {whole}\n") == "complete"
    a_beginning = {"cut"} if isinstance(value, str | list | dict) else {"cut", "complete"}  # of 12, 1 is JSON
    assert {json_state(whole[:end]) for end in range(1, len(whole))} <= a_beginning


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Sure: {",
        '{"a" 1',
        "{]",
        "[1,]",
        "[1}",
        "nul!",
        "NaN",
        "[Infinity",
        "{'a'",
        '"a\nb',
        "01",
        '{"a":1}}',
        "{a",
    ],
)
def test_other_text_is_not_json(text):
    assert json_state(text) == "none"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, {"b": "\\u00',
        '["\\',
        "[tr",
        "[-",
        "[1.",
        '{"a',
        '{"a"',
        '{"a":',
        '{"a":1,',
        "{",
        "[1e+",
        "[" * 50,
    ],
)
def test_cut_json_is_known(text):
    assert json_state(text) == "cut"


def test_a_number_of_any_length_is_json():
    assert json_state("[" + "1" * 5000 + "]") == "complete"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strings": ("a", "")}, "stop=''"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"seconds": float("nan")}, "seconds=nan"),
    ],
)
def test_stops_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        StopCriteria(**wrong)
