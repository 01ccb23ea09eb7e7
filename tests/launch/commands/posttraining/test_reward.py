"""`isoflop reward` and `isoflop dpo`: from a checkpoint and pairs to a run, and what is refused."""

import json
import os
from pathlib import Path

import pytest

from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")
FEW = ["--seq_len=16", "--batch_size=8", "--lr=0.02", "--set=n_val_tokens=256"]


def write(path: Path, n: int = 60) -> str:
    """Pairs of which "yes" is preferred, one of them too long for a row."""
    pairs = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no" if i else "n" * 20} for i in range(n)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return str(path)


@pytest.mark.parametrize("verb", ["reward", "dpo"])
def test_a_checkpoint_learns_what_is_preferred(verb, run, tmp_path, capsys):
    arguments = [str(run), write(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / verb), "--epochs=3", *FEW]
    arguments += ["--set=objective.centring=0.1"] if verb == "reward" else ["--loss=ipo", "--beta=0.5"]
    assert isoflop(verb, *arguments) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("done: loss ") and "accuracy 100.0%" in said
    assert "1 too long and left out" in said
    config, row = (
        json.loads((tmp_path / verb / name).read_text()) for name in ("config.json", "result.json")
    )
    expected = {"reward": {"centring": 0.1}, "dpo": {"loss": "ipo", "beta": 0.5, "label_smoothing": 0.0}}[
        verb
    ]
    assert expected.items() <= config["objective"].items()
    assert len(config["examples"]["fingerprint"]) == 64
    found = row["post_training"]
    assert found["objective"] == verb and found["reward_margin"] > 0.1
    if verb == "dpo":
        assert found["kl"] > 0
    stamp = os.stat(tmp_path / verb / "result.json").st_mtime_ns
    assert isoflop(verb, *arguments) == 0
    assert os.stat(tmp_path / verb / "result.json").st_mtime_ns == stamp


@pytest.mark.parametrize("verb", ["reward", "dpo"])
def test_wrong_input_is_refused_in_one_line(verb, run, tmp_path, capsys):
    bad, out = tmp_path / "bad.jsonl", tmp_path / "out"
    bad.write_text(json.dumps({"prompt": "?", "chosen": "same", "rejected": "same"}) + "\n")
    for arguments, said in (
        ([str(run)], "expected a checkpoint, pairs and --out"),
        ([str(run), str(bad), f"--out={out}"], f"{bad}:1: both responses are 'same'"),
        ([str(run), str(tmp_path / "none"), f"--out={out}"], "no such file or folder"),
        ([str(tmp_path), str(bad), f"--out={out}"], str(tmp_path)),
    ):
        assert isoflop(verb, *arguments) == 2
        error = capsys.readouterr().err.strip()
        assert said in error and "\n" not in error
    assert not out.exists()
