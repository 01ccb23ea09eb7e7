"""`isoflop sample`: what it prints, what it refuses, and that it needs no TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import isoflop, make_study

from experiments.evaluate.subject import open_subject
from launch.commands.sample import as_text, printable
from models.decoding.sample import Sample, Settings, sample


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    return make_study(folder / "study", folder / "cache")


@pytest.fixture(autouse=True)
def cache(run, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(run.parents[2] / "xla"))


def test_json_holds_what_the_library_draws(run, capsys):
    arguments = ["--prompt", "Ab", "--temperature", "0.8", "--top_p=0.9", "--n", "3", "--max_tokens", "9"]
    assert isoflop("sample", str(run), *arguments, "--seed", "7", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    subject = open_subject(run)
    [drawn] = sample(
        subject.model,
        subject.params,
        [[1, 68, 101]],
        [7],
        Settings(0.8, top_p=0.9),
        n=3,
        max_tokens=9,
        eos_id=1,
    )
    assert printed["prompt_tokens"] == [1, 68, 101]  # the end of a document, then the prompt
    for one, expected in zip(printed["samples"], drawn, strict=True):
        assert tuple(one["tokens"]) == expected.tokens
        assert one["logprobs"] == pytest.approx(expected.logprobs, abs=1e-5)
        assert one["finish"] == expected.finish
        assert one["text"] == subject.vocab.decode(expected.tokens)


def test_text_is_prompt_and_continuation(run, capsys):
    greedy = ["--prompt", "Ab", "--temperature", "0", "--max_tokens", "6"]
    assert isoflop("sample", str(run), *greedy, "--json") == 0
    [one] = json.loads(capsys.readouterr().out)["samples"]
    assert isoflop("sample", str(run), *greedy) == 0
    assert capsys.readouterr().out == "Ab" + printable(one["text"]) + "\n"


def test_a_study_stands_for_its_verification_run(run, capsys):
    study = run.parents[1]
    assert isoflop("sample", str(study), "--prompt", "A") == 2
    assert f"name a run, such as {run}" in capsys.readouterr().err
    (study / "verify.json").write_text(json.dumps({"run_id": run.name}))
    try:
        assert isoflop("sample", str(study), "--prompt", "A", "--max_tokens", "3") == 0
    finally:
        (study / "verify.json").unlink()
    assert f"sampling from the study's verification run, {run}" in capsys.readouterr().err


def test_the_model_sees_no_more_than_in_training(run, capsys):
    greedy = ["--prompt", "A", "--temperature", "0", "--max_tokens", "60", "--json"]
    assert isoflop("sample", str(run), *greedy) == 0
    printed = json.loads(capsys.readouterr().out)
    subject = open_subject(run)
    [[expected]] = sample(
        subject.model, subject.params, [[1, 68]], [0], Settings(0), max_tokens=60, eos_id=1, context=32
    )
    assert tuple(printed["samples"][0]["tokens"]) == expected.tokens


def test_several_samples_are_told_apart_and_the_prompt_is_dimmed():
    samples = [Sample((5, 1), (-1.0, -2.0), "eos"), Sample((6,), (-0.5,), "length")]
    assert as_text("Hi", samples, [" a", " b"], dim=False) == (
        "--- 1 of 2: 2 tokens, ended by eos, -1.500 nats/token\nHi a\n\n"
        "--- 2 of 2: 1 tokens, ended by length, -0.500 nats/token\nHi b"
    )
    assert as_text("Hi", samples[:1], [" a"], dim=True) == "\x1b[2mHi\x1b[0m a"


def test_a_model_cannot_steer_the_terminal():
    assert printable("a\x1b[2J\n\tb\x07\x9b") == "a\ufffd[2J\n\tb\ufffd\ufffd"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "--prompt is missing"),
        (["--prompt", "A"], "expected one run or study folder"),
        (["RUN", "--prompt", "A", "--temperature", "-1"], "temperature=-1.0"),
        (["RUN", "--prompt", "A", "--top_p", "0"], "top_p=0.0"),
        (["RUN", "--prompt", "A", "--n", "0"], "n=0"),
        (["RUN", "--prompt", "A", "--max_tokens", "-3"], "max_tokens=-3"),
        (["/nowhere", "--prompt", "A"], "/nowhere is neither a run"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, arguments, message, capsys):
    assert isoflop("sample", *(str(run) if a == "RUN" else a for a in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_neither_command_imports_tensorflow(run):
    program = f"""
import sys
from launch.cli import main
assert main(["sample", {str(run)!r}, "--prompt", "A", "--max_tokens", "2"]) == 0
assert main(["evaluate", {str(run)!r}]) == 0
assert not {{"tensorflow", "seqio"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])
