"""`isoflop sample`: what it prints, what it refuses, and that it needs no TensorFlow."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.evaluate.loaded_model import load_model
from experiments.evaluate.terminal import printable
from models.decoding.prefill import packed
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")


def test_json_holds_what_the_library_draws(run, capsys):
    arguments = ["--prompt", "Ab", "--temperature", "0.8", "--top_p=0.9", "--n", "3", "--max_tokens", "9"]
    assert isoflop("sample", str(run), *arguments, "--seed", "7", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    loaded = load_model(run)
    [drawn] = sample(
        loaded.model,
        loaded.params,
        [[1, 68, 101]],
        [7],
        SamplingSettings(0.8, top_p=0.9),
        n=3,
        max_tokens=9,
        eos_id=1,
    )
    assert printed["prompt_tokens"] == [1, 68, 101]  # the end of a document, then the prompt
    for one, expected in zip(printed["samples"], drawn, strict=True):
        assert tuple(one["tokens"]) == expected.tokens
        assert one["logprobs"] == pytest.approx(expected.logprobs, abs=1e-5)
        assert one["finish"] == expected.finish
        assert one["text"] == loaded.vocab.decode(expected.tokens)


def test_weights_of_eight_bits_are_those_of_the_library(run, capsys):
    arguments = ["--prompt", "Ab", "--n", "2", "--max_tokens", "9", "--json", "--weights"]
    assert isoflop("sample", str(run), *arguments, "int8") == 0
    found = json.loads(capsys.readouterr().out)["samples"]
    loaded = load_model(run)
    params = packed(loaded.model, loaded.params, "int8")
    [drawn] = sample(
        loaded.model, params, [[1, 68, 101]], [0], SamplingSettings(), n=2, max_tokens=9, eos_id=1
    )
    assert [tuple(one["tokens"]) for one in found] == [one.tokens for one in drawn]
    assert [one["logprobs"] for one in found] == [pytest.approx(one.logprobs, abs=1e-5) for one in drawn]
    assert isoflop("sample", str(run), *arguments, "int4") == 2


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
    loaded = load_model(run)
    [[expected]] = sample(
        loaded.model,
        loaded.params,
        [[1, 68]],
        [0],
        SamplingSettings(0),
        max_tokens=60,
        eos_id=1,
        context=32,
    )
    assert tuple(printed["samples"][0]["tokens"]) == expected.tokens


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ARGUMENTS = ["--prompt", "Ab", "--max_tokens", "40", "--seed", "3"]


def test_stops_cut_the_text_and_are_reported(run, capsys):
    assert isoflop("sample", str(run), *ARGUMENTS, "--json") == 0
    [whole] = json.loads(capsys.readouterr().out)["samples"]
    stop = whole["text"][5:7]
    assert isoflop("sample", str(run), *ARGUMENTS, "--json", "--stop", "never there", "--stop", stop) == 0
    [one] = json.loads(capsys.readouterr().out)["samples"]
    assert one["text"] == whole["text"][: whole["text"].index(stop)]
    assert (one["finish"], one["stop"], one["json"]) == ("stop", stop, "none")
    assert one["tokens"] == whole["tokens"][: len(one["tokens"])]
    assert isoflop("sample", str(run), *ARGUMENTS, "--json", "--max_seconds", "1e-9") == 0
    [one] = json.loads(capsys.readouterr().out)["samples"]
    assert (one["finish"], one["tokens"]) == ("time", whole["tokens"][:1])


def test_a_terminal_sees_the_text_as_it_is_made(run, capsys, monkeypatch):
    assert isoflop("sample", str(run), *ARGUMENTS) == 0
    printed = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert isoflop("sample", str(run), *ARGUMENTS) == 0
    assert terminal.getvalue() == printed


def test_knobs_and_likeliest_tokens(run, capsys):
    # The byte a (token 100) is made certain, and nothing may be said twice.
    bias = ["--logit_bias", "100=50", "--no_repeat_ngram_size", "3", "--max_tokens", "4"]
    assert isoflop("sample", str(run), "--prompt", "", *bias, "--top_logprobs", "2", "--json") == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed["settings"]["logit_bias"] == [[100, 50.0]]
    [one] = printed["samples"]
    assert one["text"][:3] == "aaa" and one["text"][3:] != "a"
    assert one["sampling_logprobs"][:3] == pytest.approx([0.0] * 3, abs=1e-5)
    assert max(one["logprobs"]) < -1
    for top in one["top"]:
        assert [each["logprob"] for each in top] == sorted((each["logprob"] for each in top), reverse=True)
        assert len(top) == 2 and set(top[0]) == {"token", "text", "logprob", "sampling_logprob"}


def test_prompts_of_a_file_are_answered_line_by_line(run, tmp_path, capsys):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "A", "id": 7}\n\n{"prompt": "Ab", "seed": 3}\n')
    assert isoflop("sample", str(run), "--prompts", str(file), "--n", "2", "--max_tokens", "40") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["id"], first["seed"], len(first["samples"])) == (7, 0, 2)
    assert isoflop("sample", str(run), *ARGUMENTS, "--json") == 0
    [alone] = json.loads(capsys.readouterr().out)["samples"]
    assert second["samples"][0]["tokens"] == alone["tokens"]
    file.write_text('{"prompt": "Abcabc"}\n{"prompt": "Abcabdd"}\n')
    said = []
    for flags in ([], ["--share_prefix"]):
        assert isoflop("sample", str(run), "--prompts", str(file), "--temperature", "0", *flags) == 0
        said.append([json.loads(line)["samples"][0]["text"] for line in capsys.readouterr().out.splitlines()])
    assert said[0] == said[1]


def test_the_user_picks_one(run, capsys, monkeypatch):
    arguments = ["--prompt", "A", "--max_tokens", "9", "--n", "3", "--pick"]
    assert isoflop("sample", str(run), *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and "--pick needs a terminal" in err and err.count("\n") == 1
    shown = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal("9\n2\n"))
    monkeypatch.setattr("sys.stderr", shown)
    assert isoflop("sample", str(run), *arguments) == 0
    picked = capsys.readouterr().out
    assert "--- 3 of 3" in shown.getvalue() and shown.getvalue().count("which one (1 to 3)? ") == 2
    monkeypatch.undo()
    assert isoflop("sample", str(run), *arguments[:-1]) == 0
    assert f"--- 2 of 3: {shown.getvalue().split('--- 2 of 3: ')[1].splitlines()[0]}\n{picked}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "--prompt is missing"),
        (["--prompt", "A"], "expected one run or study folder"),
        (["RUN", "--prompt", "A", "--temperature", "-1"], "temperature=-1.0"),
        (["RUN", "--prompt", "A", "--top_p", "0"], "top_p=0.0"),
        (["RUN", "--prompt", "A", "--n", "0"], "n=0"),
        (["RUN", "--prompt", "A", "--n", "100000000"], "at most 1,000,000 samples"),
        (["RUN", "--prompt", "A", "--max_tokens", "-3"], "max_tokens=-3"),
        (["RUN", "--prompt", "A", "--stop", ""], "stop=''"),
        (["RUN", "--prompt", "A", "--max_seconds", "0"], "seconds=0.0"),
        (["RUN", "--prompt", "A", "--n", "1", "--pick"], "--pick with --n 1"),
        (["RUN", "--prompt", "A", "--prompts", "-"], "--prompt and --prompts"),
        (["RUN", "--prompts", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (["RUN", "--prompts", "RUN/config.json"], "line 1"),
        (["/nowhere", "--prompt", "A"], "/nowhere is neither a run"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, arguments, message, capsys):
    assert isoflop("sample", *(a.replace("RUN", str(run)) for a in arguments)) == 2
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
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[4])


def test_every_form_holds(run, tmp_path, capsys):
    schema, rules = tmp_path / "schema.json", tmp_path / "rules.lark"
    number = {"type": "integer", "minimum": 1, "maximum": 9}
    closed = {"type": "object", "required": ["n"], "additionalProperties": False}
    schema.write_text(json.dumps(closed | {"properties": {"n": number}}))
    rules.write_text('start: "<" /[ab]+/ ">"')
    forms = {
        "--schema": (str(schema), lambda text: 1 <= json.loads(text)["n"] <= 9),
        "--regex": ("[a-c]{3}", lambda text: len(text) == 3 and set(text) <= set("abc")),
        "--grammar": (str(rules), lambda text: text[0] == "<" and text[-1] == ">"),
        "--choices": ("yes,no", lambda text: text in ("yes", "no")),
    }
    for flag, (value, holds) in forms.items():
        arguments = ["--prompt", "Ab", flag, value, "--n", "3", "--max_tokens", "60", "--json"]
        assert isoflop("sample", str(run), *arguments) == 0
        for one in json.loads(capsys.readouterr().out)["samples"]:
            assert holds(one["text"]) and one["complete"] and one["log_weight"] < 0


def test_a_form_that_did_not_fit_is_reported(run, capsys):
    assert isoflop("sample", str(run), "--prompt", "A", "--regex", "[a-z]{50}", "--max_tokens", "9") == 1
    printed = capsys.readouterr()
    assert printed.err == "1 of 1 samples lack the form: --max_tokens came first; raise it\n"
    assert len(printed.out) == len("A") + 9 + len("\n")


def test_the_best_of_n_is_printed_alone(run, capsys):
    assert (
        isoflop("sample", str(run), "--prompt=Ab", "--n=4", "--max_tokens=3", "--best=logprob", "--json") == 0
    )
    found = json.loads(capsys.readouterr().out)
    [one], about = found["samples"], found["best_of"]
    assert sum(one["logprobs"]) == pytest.approx(max(about["scores"])) and len(about["scores"]) == 4
    for wrong, said in (("vote --n=1", "2 at least"), ("nothing --n=2", "nothing")):
        assert isoflop("sample", str(run), "--prompt", "A", "--best", *wrong.split()) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_a_bias_by_text_and_a_word_when_time_has_ended_it(run, capsys):
    flags = ["--temperature=0", "--logit_bias=q=1000", "--max_seconds=1e-9", "--max_tokens=200"]
    assert isoflop("sample", str(run), "--prompt=A", *flags) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Aq") and len(printed.out) < 200
    assert "1 of 1 samples ended by --max_seconds 1e-09; tokens of the longest: " in printed.err


def test_beams_are_the_likeliest(run, capsys):
    arguments = ["--prompt", "Ab", "--max_tokens", "5", "--json"]
    assert isoflop("sample", str(run), *arguments, "--beam", "4", "--n", "2") == 0
    first, second = json.loads(capsys.readouterr().out)["samples"]
    assert isoflop("sample", str(run), *arguments, "--temperature", "0") == 0
    [greedy] = json.loads(capsys.readouterr().out)["samples"]
    assert first["score"] >= second["score"] and first["tokens"] != second["tokens"]
    assert first["score"] >= sum(greedy["logprobs"]) / len(greedy["logprobs"]) - 1e-5
    assert sum(first["logprobs"]) / len(first["logprobs"]) == pytest.approx(first["score"], abs=1e-5)
    drawn = []
    for seed in ("3", "3", "4"):
        flags = [
            "--beam",
            "2",
            "--beam_sample",
            "--temperature",
            "2",
            "--logit_bias",
            "bc=-inf",
            "--seed",
            seed,
        ]
        assert isoflop("sample", str(run), *arguments, *flags) == 0
        drawn.append(json.loads(capsys.readouterr().out)["samples"])
    assert drawn[0] == drawn[1] != drawn[2]
    assert isoflop("sample", str(run), "--prompt", "A" * 40, "--beam", "2") == 2  # the context is 32
    assert "31 at most leave room" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--regex", "a", "--choices", "b"], "--regex and --choices"),
        (["--regex", "("], "unclosed group"),
        (["--schema", "nowhere.json"], "--schema nowhere.json"),
        (["--regex", "a", "--stop", "b"], "--stop with --regex"),
        (["--beam_sample"], "--beam_sample without --beam"),
        (["--share_prefix"], "--share_prefix is for samples of --prompts"),
        (["--beam", "2", "--choices", "a"], "--choices with --beam"),
        (["--beam", "2", "--n", "3"], "no more texts than beams"),
        (["--beam", "0"], "--beam 0"),
        (["--beam", "1e8"], "--beam 100000000"),
    ],
)
def test_forms_and_beams_that_cannot_be_are_refused(run, capsys, flags, message):
    assert isoflop("sample", str(run), "--prompt", "A", *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_schema_deeper_than_the_parser_goes_is_refused(run, tmp_path, capsys):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert isoflop("sample", str(run), "--prompt", "A", "--schema", str(tmp_path / "deep.json")) == 2
    assert "deep.json" in capsys.readouterr().err
