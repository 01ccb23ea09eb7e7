"""Prompts in, samples out: what a file of prompts may hold, and what terminal and JSON are given."""

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evaluate.samples import sample_output
from experiments.evaluate.samples.sample_output import (
    as_json,
    as_text,
    finite,
    read_bias,
    read_requests,
    warn_of_cut_json,
)
from models.decoding.constraints.constrained_sampling import ConstrainedSample
from models.decoding.sample import Sample


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_prompt_has_the_seed_given():
    assert read_requests("A", None, 3) == [{"prompt": "A", "seed": 3}]
    assert read_requests("", None, 0) == [{"prompt": "", "seed": 0}]


def test_a_file_of_prompts_keeps_their_own_seeds_and_whatever_else_they_say(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "A", "id": 7}, {"prompt": "two\u2028lines", "seed": 9}]
    path.write_text(
        "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8"
    )
    assert read_requests(None, str(path), 3) == [
        {"prompt": "A", "seed": 3, "id": 7},
        {"prompt": "two\u2028lines", "seed": 9},
    ]


def test_prompts_come_through_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"prompt": "A"}\r\n'))
    assert read_requests(None, "-", 0) == [{"prompt": "A", "seed": 0}]


@pytest.mark.parametrize(
    "text, said",
    [
        (b'{"prompt": "A"}\n\n["B"]\n', r"""x, line 3: '\["B"\]' is not an object like \{"prompt": "A"\}"""),
        (b'{"prompt": 3}', "x, line 1: .* is not an object like"),
        (b'{"prompt": "A"', "x, line 1: .* is not an object like"),
        (b"[" * 100_000, "x, line 1: .* is not an object like"),
        (b'{"prompt": "A", "seed": 1.5}', r"x, line 1: seed=1\.5; it must be a whole number"),
        (b'{"prompt": "A", "seed": true}', "x, line 1: seed=True; it must be a whole number"),
        (b'{"prompt": "A", "seed": null}', "x, line 1: seed=None"),
        (b"\n \n", "x: no line has a prompt"),
        (b"\xff\xff", "x: 'utf-8' codec can't decode"),
    ],
)
def test_lines_that_are_no_prompts_are_named(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(text)
    with pytest.raises(ValueError, match=f"--prompts {said}"):
        read_requests(None, "x", 0)


@pytest.mark.parametrize(
    "prompt, prompts, said",
    [
        (None, None, '--prompt is missing; give the text to continue, or --prompt "" to start a document'),
        ("A", "-", "--prompt and --prompts are both there"),
        (None, "nowhere", "--prompts nowhere: .*No such file"),
    ],
)
def test_what_asks_for_no_one_prompt_is_refused(prompt, prompts, said):
    with pytest.raises(ValueError, match=said):
        read_requests(prompt, prompts, 0)


def test_biases_are_pairs():
    said = [b"", b" the", b"=", b"7", b" the", "é".encode()]

    def read(*pairs: str):
        found = read_bias(pairs, said, encode)
        return found["logit_bias"], found["sequence_bias"]

    def encode(text: str) -> list[int]:
        return [ord(letter) for letter in text]

    assert read("13=-2.5", "4=-inf") == (((13, -2.5), (4, -math.inf)), ())
    assert read(" the=-1", "é=2") == (((1, -1.0), (4, -1.0), (5, 2.0)), ())  # two tokens say " the"
    assert read("==3", '"7"=4', "7=5") == (((2, 3.0), (3, 4.0), (7, 5.0)), ())
    assert read("13,4,5=-inf", "ab=2", "7=1") == (((7, 1.0),), (((13, 4, 5), -math.inf), ((97, 98), 2.0)))
    assert read('"7,8"=1') == ((), (((55, 44, 56), 1.0),))
    for wrong in ("13", "13=", "=2", " the=x"):
        with pytest.raises(ValueError, match=f"logit_bias='{wrong}'; give TOKENS=NUMBER, such as 13=-2.5"):
            read("1=2", wrong)


def test_json_has_the_text_first_and_the_likeliest_tokens_by_name():
    one = Sample((5,), (-1.0,), "stop", 7, (-0.5,), (((5, -1.0, -0.5), (6, -2.0, -math.inf)),), '{"a": 1}')
    reported = as_json(one, {5: b"{", 6: b"\xff"})
    assert next(iter(reported)) == "text" and (reported["json"], reported["finish"], reported["stop"]) == (
        "complete",
        "stop",
        7,
    )
    assert reported["top"] == [
        [
            {"token": 5, "logprob": -1.0, "sampling_logprob": -0.5, "text": "{"},
            {"token": 6, "logprob": -2.0, "sampling_logprob": "-inf", "text": "\ufffd"},
        ]
    ]
    assert "top" not in as_json(Sample((5,), (-1.0,), "eos", text="x"), [])


plain = st.none() | st.booleans() | st.integers() | st.text() | st.floats()
nested = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(nested)
def test_whatever_is_reported_is_json_and_loses_nothing(value):
    """Numbers that JSON has not are read back from their text; all else is as it was."""

    def same(one, other) -> bool:
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, float) and not math.isfinite(one):
            return isinstance(other, str) and repr(float(other)) == repr(one)
        return one == other and type(one) is type(other)

    assert same(value, json.loads(json.dumps(finite(value), allow_nan=False)))


def test_several_samples_are_kept_apart_and_one_stands_alone():
    two = [Sample((5, 6), (-1.0, -2.0), "eos", text="bc"), Sample((), (), "length", text="\x1b[2J")]
    assert as_text("A", two, dim=False) == (
        "--- 1 of 2: 2 tokens, ended by eos, -1.500 nats/token\nAbc\n\n"
        "--- 2 of 2: 0 tokens, ended by length, 0.000 nats/token\nA\ufffd[2J"
    )
    assert as_text("A\a", two[:1], dim=True) == "\x1b[2mA\ufffd\x1b[0mbc"


def test_json_cut_short_is_reported(capsys):
    cut = Sample((5,), (-1.0,), "length", text='{"a": 1')
    warn_of_cut_json([Sample((5,), (-1.0,), "eos", text="{}"), cut, Sample((5,), (-1.0,), "eos", text='"a')])
    assert capsys.readouterr().err == "sample 2 is JSON cut short: it was ended by length\n"
    assert as_json(cut, [])["json"] == "cut"


def test_samples_without_their_form_are_counted(capsys):
    whole, cut = (ConstrainedSample("a", (1,), (), (), (), "eos", done, 0.0) for done in (True, False))
    assert sample_output.warn_of_unfulfilled([[whole, whole], [whole]]) == 0 and capsys.readouterr().err == ""
    assert sample_output.warn_of_unfulfilled([[whole, cut], [cut]]) == 1
    assert capsys.readouterr().err.startswith("2 of 3 samples lack the form: --max_tokens came first")


def test_the_user_is_asked_until_a_number_is_right(monkeypatch, capsys):
    drawn = [Sample((5,), (-1.0,), "eos", text=text) for text in "bc"]
    monkeypatch.setattr("sys.stdin", Terminal("0\n3\nb\n 2 \n1\n"))
    assert sample_output.pick("A", drawn) is drawn[1]
    printed = capsys.readouterr()
    assert printed.err.count("which one (1 to 2)? ") == 4 and printed.out == ""
    monkeypatch.setattr("sys.stdin", Terminal("5\n"))
    with pytest.raises(ValueError, match="no sample was picked"):
        sample_output.pick("A", drawn)


def test_one_picks_among_several_and_at_a_terminal(monkeypatch):
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{name}", Terminal())
    sample_output.check_pick(2, None)
    with pytest.raises(ValueError, match="--pick with --prompts; it works on one --prompt"):
        sample_output.check_pick(2, "-")
    with pytest.raises(ValueError, match="--pick with --n 1; there must be at least 2 samples to pick from"):
        sample_output.check_pick(1, None)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ValueError, match="--pick needs a terminal to show the samples and to ask"):
        sample_output.check_pick(2, None)
