"""`isoflop doctor`: a line about each part, traps named, wrong things counted; extras as in setup.py."""

import ast
import json
import os
from pathlib import Path

import pytest

from experiments.files.extras import EXTRAS, install_command
from launch import cli
from launch.commands.setup import machine

ROOT = Path(__file__).parents[4]


def test_every_part_has_a_line_and_only_wrong_ones_count(monkeypatch, capsys):
    monkeypatch.setattr(machine, "threads", lambda environment: 1 / 0)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    for name in ("versions", "constraints", "devices", "data", "compiled", "disk", "Slurm", "Kubernetes"):
        assert f" {name} " in said
    assert "wrong threads" not in said and "wrong <lambda>" in said and "ZeroDivisionError" in said


def test_without_anything_wrong_the_code_is_0_and_json_says_the_same(monkeypatch, capsys):
    found = [machine.Finding("look", "load", "busy"), machine.Finding("none", "extras", "none", "pip x")]
    monkeypatch.setattr(machine, "examine", lambda environment: found)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == f"{'':19}pip x"
    assert cli.main(["doctor", "--json"]) == 0
    assert [each["state"] for each in json.loads(capsys.readouterr().out)] == ["look", "none"]


def test_settings_that_slow_everything_down_are_named():
    found = {each.name: each for each in machine.devices({"JAX_DISABLE_JIT": "1"})}
    assert found["devices"].state == "ok" and "nothing is compiled" in found["JAX_DISABLE_JIT"].text
    found = {each.name: each for each in machine.threads({"OMP_NUM_THREADS": "16", "MKL_NUM_THREADS": "1"})}
    assert found["threads"].state == "look" and found["threads"].text.startswith("OMP_NUM_THREADS=16: ")
    assert {each.name: each.state for each in machine.threads({})}["threads"] == "ok"


def test_a_cache_that_cannot_be_written_and_a_full_disk_are_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "data"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    (tmp_path / "xla").mkdir()
    (tmp_path / "xla" / "program").write_bytes(bytes(2000))
    data, compiled = machine.caches({})
    assert data.state == "ok" and data.text.endswith("data: empty so far")
    assert "xla: 1 files, 2" in compiled.text
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert [each.state for each in machine.caches({})] == ["wrong", "wrong"]
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1e8}))
    assert {each.state for each in machine.disk({})} == {"wrong"}


@pytest.mark.parametrize(
    "script, state, text",
    [
        ("echo 'Slurmctld(primary) at head is UP'", "ok", "Slurmctld(primary) at head is UP"),
        ("echo 'unknown host' >&2; exit 1", "look", "its controller is not reached: unknown host"),
    ],
)
def test_slurm_is_asked(tmp_path, monkeypatch, script, state, text):
    for name in ("sbatch", "scontrol"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (found,) = machine.slurm({})
    assert found.state == state and found.text.endswith(text)


def test_constraints_are_those_for_this_python():
    text = "# tested\nflax==2; python_version >= '3.0'\nflax==1; python_version < '3.0'\nMarkupSafe==3.0.3\n"
    assert machine.constraints(text) == {"flax": "2", "markupsafe": "3.0.3"}


def test_extras_are_those_of_setup_and_installed_from_this_clone(monkeypatch):
    tree = ast.parse((ROOT / "setup.py").read_text())
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    (given,) = (keyword.value for keyword in keywords if keyword.arg == "extras_require")
    assert isinstance(given, ast.Dict)
    names = {key.value for key in given.keys if isinstance(key, ast.Constant)}
    of_developers = {"beam", "clients", "dev", "docs", "hf"}
    assert set(EXTRAS) == names - of_developers
    assert install_command("web").endswith(f"-e '{ROOT}[web]'")
    monkeypatch.setattr("experiments.files.extras.ROOT", ROOT / "nowhere")
    assert install_command("web").endswith("-m pip install 'isoflop[web]'")
