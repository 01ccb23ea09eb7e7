"""Sessions of a module that stands in for wandb and keeps what it is told; wandb itself needs an account."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.launch.monitor.test_tensorboard import line, make_study, write_lines
from tests.tiny_run import isoflop


@pytest.fixture
def sessions(monkeypatch):
    """[(arguments of init, [(step, numbers)])] of every session that was finished."""
    kept = []

    def init(**arguments):
        logged = []
        return SimpleNamespace(
            log=lambda numbers, step: logged.append((step, numbers)),
            finish=lambda: kept.append((arguments, logged)),
        )

    module = ModuleType("wandb")
    module.init, module.Settings = init, dict
    monkeypatch.setitem(sys.modules, "wandb", module)
    return kept


def test_a_run_is_continued_where_the_last_session_ended(tmp_path, sessions, capsys):
    store = make_study(tmp_path)
    write_lines(store, "0run", line(1, train_loss=5.5, lr=0.1))
    assert isoflop("tensorboard", str(store.folder), "--wandb") == 0
    write_lines(store, "0run", line(1, train_loss=5.5, lr=0.1) + line(2, val_loss=5.0))
    assert isoflop("tensorboard", str(store.folder), "--wandb") == 0
    assert isoflop("tensorboard", str(store.folder), "--wandb") == 0
    assert [logged for _, logged in sessions] == [
        [(1, {"train_loss": 5.5, "lr": 0.1})],
        [(2, {"val_loss": 5.0})],
    ]
    for arguments, _ in sessions:
        assert (arguments["id"], arguments["project"], arguments["resume"]) == ("0run", "fake", "allow")
        assert arguments["config"]["optimizer"] == {"lr": 0.01}
    assert json.loads((store.folder / "wandb/sent.json").read_text()) == {"0run": 2}
    assert not (store.folder / "tensorboard").exists()


def test_without_wandb_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert isoflop("tensorboard", str(make_study(tmp_path).folder), "--wandb") == 2
    assert capsys.readouterr().err.strip() == "isoflop: wandb is not installed: pip install wandb"
