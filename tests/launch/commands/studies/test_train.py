"""`isoflop train`: one run in its folder, continued after Ctrl-C, refused where it does not belong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import cli
from tests.tiny_run import isoflop, make_study


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A folder of token caches; also holds config.json of a run that uses them."""
    root = tmp_path_factory.mktemp("cache")
    run = make_study(root / "study", root)
    manifest = root / "docstrings-tiny" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": {}, "licence": "none"}))
    (root / "config.json").write_text((run / "config.json").read_text())
    return root


def write_config(cache: Path, path: Path, **changes) -> Path:
    path.write_text(json.dumps(json.loads((cache / "config.json").read_text()) | changes))
    return path


def start(cache: Path, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "launch.cli", "train", *map(str, arguments)]
    environment = os.environ | {"ISOFLOP_CACHE": str(cache)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_run_is_trained_once(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISOFLOP_CACHE", str(cache))
    config = write_config(cache, tmp_path / "config.json")
    first = start(cache, config, "--out", tmp_path / "run")
    last = first.communicate(timeout=120)[0].splitlines()[-1]
    assert first.returncode == 0 and last.startswith("done: loss ")
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert row["status"] == "done" and row["n_tokens"] == 640 and 0 < row["loss"] < 6
    stamp = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    assert isoflop("train", str(config), "--out", str(tmp_path / "run")) == 0
    assert capsys.readouterr().out.splitlines() == [last]
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == stamp
    other = write_config(cache, tmp_path / "other.json", seed=5)
    assert isoflop("train", str(other), "--out", str(tmp_path / "run")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "another configuration" in err


def test_ctrl_c_saves_the_run_and_the_same_command_continues(cache, tmp_path):
    config = write_config(cache, tmp_path / "config.json", n_tokens=64 * 1_500)
    run = tmp_path / "run"
    process = start(cache, config, "--out", run)
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").stat().st_size < 500:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues it" in out
    assert not (run / "result.json").exists() and list((run / "checkpoints").iterdir())
    process = start(cache, config, "--out", run)
    assert process.communicate(timeout=120)[0].splitlines()[-1].startswith("done: loss ")
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 1_500


def test_a_run_is_spread_over_a_mesh(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    config = write_config(cache, tmp_path / "config.json")
    spread = start(cache, config, "--out", tmp_path / "run", "--mesh", "fsdp=2")
    out, err = spread.communicate(timeout=240)
    assert spread.returncode == 0 and out.splitlines()[-1].startswith("done: loss "), err
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert row["n_devices"] == 2 and 0 < row["loss"] < 6
    assert isoflop("train", str(config), "--out", str(tmp_path / "other"), "--mesh", "fsdp=3") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "needs 3 devices and there are 1" in err


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "is not JSON"),
        ('{"sede": 3}', "did you mean 'seed'?"),
        ("{}", "RunConfig.model is missing"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path, capsys, text, said):
    (tmp_path / "config.json").write_text(text)
    assert cli.main(["train", str(tmp_path / "config.json"), "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert cli.main(["train", str(tmp_path / "none.json"), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"isoflop: {tmp_path}/none.json: No such file or directory\n"
