"""The command line: quick help, one clear line for wrong input, tracebacks for our own bugs."""

import errno
import os
import shlex
import subprocess
import sys
import types

import pytest
from absl import flags

from launch import cli


@pytest.fixture
def command(monkeypatch):
    """A command `logs` that does what the test says."""
    values = flags.FlagValues()
    flags.DEFINE_string("out", None, "where to", flag_values=values)
    flags.DEFINE_integer("count", 3, "how many", flag_values=values)
    flags.DEFINE_multi_string("set", [], "changes", flag_values=values)
    module = types.SimpleNamespace(
        __doc__="A test.\n\nExample: isoflop logs x\n", FLAGS=values, USAGE="isoflop logs X", run=None
    )
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    monkeypatch.delenv("ISOFLOP_DEBUG", raising=False)
    return module


def test_numbers_of_flags_are_read_as_people_write_them(command):
    flags.DEFINE_float("tokens", 0.0, "of it", 0.0, flag_values=command.FLAGS)
    command.run = lambda args, values: taken.append((values.count, values.tokens)) or 0
    taken = []
    assert cli.main(["logs", "--count=10k", "--tokens", "3T"]) == cli.main(["logs"]) == 0
    assert taken == [(10_000, 3e12), (3, 0.0)]
    assert cli.main(["logs", "--count=1.5"]) == cli.main(["logs", "--tokens=-1k"]) == 2


def run_isoflop(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "launch.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert cli.main([verb, "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: isoflop {verb}") and f"Example: isoflop {verb}" in printed
    command = cli.command_module(verb)
    assert all(f"--{name}" in printed for name in command.FLAGS)
    assert all(len(line) <= 140 for line in printed.splitlines())


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_examples_of_every_verb_are_command_lines_that_it_takes(verb, monkeypatch):
    command, taken = cli.command_module(verb), []
    monkeypatch.setattr(command, "run", lambda args, flags: taken.append(args) or 0)
    examples = [line for line in command.__doc__.splitlines() if line.startswith("Example: isoflop ")]
    for example in examples:
        assert cli.main(shlex.split(example.removeprefix("Example: isoflop "))) == 0, example
    assert len(taken) == len(examples) > 0


@pytest.mark.parametrize("verb", cli.VERBS)
@pytest.mark.parametrize("wrong", ["argument", "flag"])
def test_every_verb_refuses_what_it_cannot_take_in_one_line(verb, wrong, capsys):
    """A missing argument, or one too many where none is needed; and a flag that it does not know."""
    needs_none = verb in ("forecast", "prepare", "doctor")
    arguments = {"flag": ["--no-such-flag=1"], "argument": ["x"] if needs_none else []}[wrong]
    assert cli.main([verb, *arguments]) == 2
    out, err = capsys.readouterr()
    hint = f"see `isoflop {verb} --help`" if wrong == "flag" else f"usage: {cli.command_module(verb).USAGE}"
    assert out == "" and err.startswith("isoflop: ") and err.endswith(f"{hint}\n") and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_the_overview_lists_every_verb(arguments, capsys):
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {verb} " in printed for verb in cli.VERBS)


def test_a_foreign_package_of_one_of_our_names_is_named_in_one_line(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from launch import cli"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1
    assert ran.stderr.startswith(
        f"isoflop: package 'models' is found in {tmp_path}/models, but isoflop's is "
    )


def test_help_needs_none_of_the_heavy_libraries():
    code = "import sys; from launch import cli; cli.main(['--help'])\n"
    code += "print([name for name in ('jax', 'numpy', 'pandas', 'flax') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["stduy"], "isoflop: unknown command 'stduy'; did you mean 'study'?"),
        (["xyzzy"], "isoflop: unknown command 'xyzzy'; there are study, plan"),
        (["logs", "--ouy=3"], "Unknown command line flag 'ouy'. Did you mean: out"),
        (["logs", "--count=three"], "flag --count=three: 'three' is not a number; write 1e9, 7B"),
        (["logs", "--out"], "Missing value for flag --out"),
    ],
)
def test_a_wrong_command_line_gets_one_line_and_code_2(command, capsys, arguments, said):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_flags_may_stand_anywhere(command):
    seen = {}
    command.run = lambda args, flags: seen.update(args=args, out=flags.out, set=flags.set) or 1
    assert cli.main(["logs", "a", "--set", "x.y=1", "b", "--out=here", "--set=z=2"]) == 1
    assert seen == {"args": ["a", "b"], "out": "here", "set": ["x.y=1", "z=2"]}


def raise_from(file: str, error: Exception):
    """A command whose error comes from `file`."""
    scope = {"error": error}
    exec(compile("def run(args, flags):\n    raise error", file, "exec"), scope)
    return scope["run"]


def test_an_error_of_ours_is_one_line(command, capsys):
    command.run = raise_from(
        str(cli.ROOT / "scaling" / "fit.py"), ValueError("lr=-1\x1b;\nit must be positive")
    )
    assert cli.main(["logs"]) == 2
    assert (
        capsys.readouterr().err == "isoflop: lr=-1\ufffd; it must be positive\n"
    )  # nothing steers the terminal


def test_a_value_error_from_a_library_is_a_bug_with_a_traceback(command):
    command.run = raise_from("/lib/python/json/decoder.py", ValueError("bad literal"))
    with pytest.raises(ValueError, match="bad literal"):
        cli.main(["logs"])


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), "out/x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied"),
        (OSError("out: a worker could not write"), "out: a worker could not write"),
    ],
)
def test_an_error_of_the_system_is_one_line_wherever_it_comes_from(command, capsys, error, said):
    command.run = raise_from("/lib/python/pathlib.py", error)
    assert cli.main(["logs"]) == 2
    assert capsys.readouterr().err == f"isoflop: {said}\n"


def test_debug_shows_where_an_error_comes_from(command, monkeypatch):
    monkeypatch.setenv("ISOFLOP_DEBUG", "1")
    command.run = raise_from(str(cli.ROOT / "scaling" / "fit.py"), ValueError("lr=-1"))
    with pytest.raises(ValueError, match="lr=-1"):
        cli.main(["logs"])


def test_an_interrupt_is_code_130(command, capsys):
    command.run = raise_from("x.py", KeyboardInterrupt())
    assert cli.main(["logs"]) == 130
    assert capsys.readouterr().err == "isoflop: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error():
    shell = f"{sys.executable} -m launch.cli list families | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=os.getcwd())
    assert (ran.returncode, ran.stderr) == (0, "")


def test_dashes_in_flag_names_are_understood(capsys):
    """`--max-tokens` is refused for its value, not for its name."""
    assert cli.main(["sample", "nowhere", "--prompt", "x", "--max-tokens=many"]) == 2
    assert "max_tokens" in capsys.readouterr().err
    assert cli.main(["sample", "nowhere", "--prompt", "x", "--top-pp=0.5"]) == 2
    assert "top-pp" in capsys.readouterr().err
