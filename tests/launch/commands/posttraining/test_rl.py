"""`isoflop rl`: from a checkpoint and prompts to a run; what is wrong is told in a line."""

import json
import os

import pytest

from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")


def test_a_checkpoint_is_trained_by_the_gold_reward_and_what_is_wrong_is_said(run, tmp_path, capsys):
    """A network that has learnt nothing hardly ever ends a response."""
    out, arguments = tmp_path / "rl", ["--algorithm=rloo", "--beta=0.1", "--max_new=4", "--group_size=2"]
    arguments += [
        "--seq_len=26",
        "--batch_size=4",
        "--set=n_val_tokens=104",
        "--set=examples.gold.n_examples=4",
    ]
    assert isoflop("rl", str(run), "gold", "--out", str(out), *arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("done: reward -")
    assert "all responses were cut off at max_new=4" in printed.err
    config, row = (json.loads((out / name).read_text()) for name in ("config.json", "result.json"))
    assert config["objective"]["beta"] == 0.1 and config["objective"]["advantage"] == "rloo"
    assert row["n_steps"] == 2 and row["post_training"]["truncated"] == 1
    stamp = os.stat(out / "result.json").st_mtime_ns
    assert isoflop("rl", str(run), "gold", "--out", str(out), *arguments) == 0
    assert os.stat(out / "result.json").st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prompts.jsonl"], "expected a checkpoint, prompts and --out"),
        (["prompts.jsonl", "--out=x"], "--reward is missing"),
        (["prompts.jsonl", "--out=x", "--reward=gold"], "known of gold prompts only"),
        (["gold", "--out=x", "--algorithm=rejection", "--beta=1"], "--beta with --algorithm rejection"),
        (["gold", "--out=x"], "the longest prompt has"),
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments, said, run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [run.as_posix(), *arguments] if "--out=x" in arguments else arguments
    assert isoflop("rl", *command) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error
    assert not (tmp_path / "x").exists()
