"""`isoflop evaluate`: its numbers are those of the library, on a split or a file, printed and written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import models
from experiments.config import RunConfig
from experiments.evaluate.language_modelling.perplexity import perplexity
from experiments.evaluate.language_modelling.tokenized_text import read_files, read_split
from experiments.evaluate.loaded_model import load_model
from experiments.fields import from_json
from experiments.training.checkpoints.checkpoint import Checkpoints
from tests.tiny_run import DOCUMENTS, isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_in_json(run, split, capsys, tmp_path):
    out = tmp_path / "r.json"
    assert isoflop("evaluate", str(run), "--split", split, "--json", "--out", str(out)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == printed
    loaded = load_model(run)
    text = read_split(loaded.config.data, split)
    found = perplexity(loaded.model, loaded.params, text, loaded.vocab, context=32)
    assert printed["loss"] == pytest.approx(found.loss.value)
    assert printed["bits_per_byte_ci"] == pytest.approx([found.bits_per_byte.lo, found.bits_per_byte.hi])
    assert printed["n_documents"] == 12 and printed["resampled"] == "documents" and printed["text"] == split
    # The stream's first token has nothing before it and is not counted.
    assert printed["n_bytes"] == sum(len(document) for document in DOCUMENTS[split]) - 1
    assert printed["n_tokens"] == printed["n_bytes"] + 12


def test_a_file_of_the_users_own(run, capsys, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Grüße aus dem Süden.\n")
    assert isoflop("evaluate", str(run), "--file", str(file), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    loaded = load_model(run)
    found = perplexity(
        loaded.model, loaded.params, read_files(str(file), loaded.vocab), loaded.vocab, context=32
    )
    assert printed["loss"] == pytest.approx(found.loss.value)
    assert printed["n_bytes"] == len("Grüße aus dem Süden.".encode())
    assert printed["loss_ci"] == [None, None] and printed["loss_se"] is None


def test_equal_weights_are_ties_by_names_that_differ_on_the_first_documents(run, tmp_path, capsys):
    copies = [tmp_path / name / "same" for name in "ab"]
    for copy in copies:
        shutil.copytree(run, copy)
    arguments = ["evaluate", str(run), *map(str, copies), str(copies[1]), "--split=test", "--limit=5"]
    assert isoflop(*arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[1:4]] == [run.name, "a/same", "b/same"]
    assert lines[4][:2] == ["b/same", "(2)"]
    assert not any(line[-1][-1] in "+-" for line in lines[1:5])
    assert isoflop("evaluate", str(run), "--split=test", "--limit=5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_documents"] == 5
    assert found["n_bytes"] == sum(len(document) for document in DOCUMENTS["test"][:5]) - 1


def test_the_table_is_for_people(run, capsys):
    assert isoflop("evaluate", str(run)) == 0
    out = capsys.readouterr().out
    assert "12 documents" in out and "nats/token" in out and "bits per byte" in out
    assert "90% interval" in out and "intervals over documents" in out


TASK = [
    {"metric": "multiple_choice", "delimiter": " "},
    {"prompt": "", "choices": ["a", "b"], "target": 0},
    *({"prompt": f"{i} is", "choices": ["even", "odd"], "target": i % 2} for i in range(9)),
]


@pytest.fixture
def task(tmp_path) -> str:
    (tmp_path / "parity.jsonl").write_text("".join(json.dumps(line) + "\n" for line in TASK))
    return str(tmp_path / "parity.jsonl")


@pytest.fixture(scope="module")
def study(run, tmp_path_factory) -> Path:
    """Three finished runs, two of which differ in their seed alone, and one that diverged."""
    folder, rows = tmp_path_factory.mktemp("several") / "study", ["run_id,stage,status,n_params,loss"]
    for i, (lr, status) in enumerate([(0.01, "done"), (0.02, "done"), (0.01, "done"), (9.0, "diverged")]):
        other = folder / "runs" / f"run{i}"
        shutil.copytree(run, other)
        config = json.loads((other / "config.json").read_text()) | {"seed": i}
        config["optimizer"]["lr"] = lr
        (other / "config.json").write_text(json.dumps(config))
        rows.append(f"run{i},grid,{status},5000,{5 - i if status == 'done' else 'inf'}")
        if i < 3:
            reseed(other, i)
    (folder / "runs.csv").write_text("\n".join(rows) + "\n")
    return folder


def reseed(run: Path, seed: int) -> None:
    config = from_json(RunConfig, json.loads((run / "config.json").read_text()))
    params = jax.jit(models.build(config.model).init)(jax.random.key(seed))
    shutil.rmtree(run / "checkpoints")
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.save(10, params, {"count": np.zeros(1)}, {"step": 10})
    checkpoints.close()


def test_a_task_of_the_users_own(run, task, capsys, tmp_path):
    picture = tmp_path / "reliability.png"
    arguments = ["evaluate", str(run), "--tasks", f"{task},copy", "--limit", "8", "--json"]
    assert isoflop(*arguments, "--reliability", str(picture)) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["tasks"]
    assert (found["parity"]["n"], found["parity"]["n_broken"], found["parity"]["chance"]) == (8, 1, 0.5)
    assert found["copy"]["chance"] == 0.25 and 0 <= found["copy"]["acc"]["value"] <= 1
    assert found["parity"]["acc"]["lo"] <= found["parity"]["acc"]["value"] <= found["parity"]["acc"]["hi"]
    assert len(found["copy"]["calibration"]["bins"]) > 0
    assert "parity:2: left out: the prompt is empty" in err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert isoflop("evaluate", str(run), "--tasks", task, "--limit", "8") == 0
    assert "acc_norm" in capsys.readouterr().out


def test_all_runs_of_a_study_in_one_table(study, task, capsys, tmp_path):
    out = tmp_path / "scores.csv"
    arguments = ["evaluate", str(study), "--all", "--tasks", task, "--split", "validation", "--out", str(out)]
    assert isoflop(*arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(one["run"]).name for one in found["checkpoints"]] == ["run2", "run1", "run0"]  # by loss
    assert [Path(one["run"]).name for one in found["differences"]] == ["run1", "run0"]
    first, second = found["checkpoints"][:2]
    apart = found["differences"][0]
    assert apart["parity"]["value"] == pytest.approx(
        second["tasks"]["parity"]["acc"]["value"] - first["tasks"]["parity"]["acc"]["value"]
    )
    assert apart["bits_per_byte"]["value"] == pytest.approx(second["bits_per_byte"] - first["bits_per_byte"])
    [seeds] = found["seeds"]
    assert seeds["runs"] == ["run2", "run0"] and seeds["task"] == "parity"
    table = pd.read_csv(out)
    assert set(table["task"]) == {"validation", "parity"} and set(table["n_params"]) == {5000}
    assert len(table[(table["task"] == "parity") & (table["metric"] == "acc")]) == 3
    assert isoflop("evaluate", str(study), "--all", "--tasks", task) == 0
    shown = capsys.readouterr().out
    assert "run2" in shown and "over seeds" in shown and "chance: parity 0.5" in shown


def test_groups_of_a_text(run, capsys, tmp_path):
    lines = [{"text": f"Returns {i} of them.", "lang": "en" if i % 2 else "de"} for i in range(20)]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"text": 1}\n{\n')
    arguments = ["evaluate", str(run), "--file", str(file), "--by", "lang,length,position"]
    assert isoflop(*arguments, "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    groups = found["by"]
    assert list(groups["lang"]) == ["de", "en"] and groups["lang"]["de"]["n_documents"] == 10
    assert list(groups["length"]) == ["0 to 255 bytes"]
    assert list(groups["position"]) == ["0", "1", "2-3", "4-7", "8-15", "16-31"]
    whole = [(g["loss"]["value"], g["n_bytes"] + g["n_documents"]) for g in groups["lang"].values()]
    assert sum(loss * n for loss, n in whole) / sum(n for _, n in whole) == pytest.approx(found["loss"])
    assert ":21: left out: no 'text'" in err and ":22: left out: not JSON" in err
    assert isoflop(*arguments) == 0
    assert "by position" in capsys.readouterr().out


def test_an_exported_checkpoint_has_the_numbers_of_the_run(run, task, capsys, tmp_path):
    assert isoflop("export", str(run), "--out", str(tmp_path / "hf")) == 0
    capsys.readouterr()
    assert (
        isoflop("evaluate", str(run), str(tmp_path / "hf"), "--split", "test", "--tasks", task, "--json") == 0
    )
    ours, theirs = json.loads(capsys.readouterr().out)["checkpoints"]
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)
    assert theirs["tasks"]["parity"]["acc"] == ours["tasks"]["parity"]["acc"]


def test_asking_again_computes_nothing_and_loads_no_jax(run, task, capsys):
    arguments = [
        "evaluate",
        str(run),
        "--split",
        "test",
        "--tasks",
        f"{task},brackets",
        "--limit",
        "5",
        "--json",
    ]
    assert isoflop(*arguments) == 0
    first = capsys.readouterr().out

    code = "import sys; from launch import cli; code = cli.main(sys.argv[1:])\n"
    code += "print([name for name in ('jax', 'pandas', 'seqio') if name in sys.modules], code)"
    again = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert again.stdout == first + "[] 0\n", again.stderr


KILLED = """
import os, sys
from experiments.evaluate import response_cache
append, left = response_cache._append, [int(sys.argv[1])]
def dying(file, data):
    if not left[0]:
        file.write(data[: len(data) // 2].rstrip())
        os.kill(os.getpid(), 9)
    left[0] -= 1
    append(file, data)
response_cache._append = dying
from launch.cli import main
main(sys.argv[2:])
"""


def test_killed_in_the_middle_of_writing_it_goes_on_where_it_was(run, capsys, monkeypatch, tmp_path):
    """At the second batch of the task's log, half of it written."""
    monkeypatch.setattr("experiments.evaluate.tasks.loglikelihood.TOKENS_PER_BATCH", 512)
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))
    command = ["evaluate", str(run), "--tasks", "copy", "--limit", "400", "--json"]
    ended = subprocess.run([sys.executable, "-c", KILLED, "2", *command], capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    [log] = (tmp_path / "evaluate").glob("*.jsonl")
    n_before = log.read_text().count("\n")
    assert 0 < n_before < 400 and not log.read_text().endswith("\n")
    assert isoflop(*command) == 0
    found = capsys.readouterr().out
    assert sorted(json.loads(line)["i"] for line in log.read_text().splitlines()) == list(range(400))
    log.unlink()
    assert isoflop(*command) == 0
    assert (
        json.loads(capsys.readouterr().out)["tasks"]["copy"]["acc"]
        == json.loads(found)["tasks"]["copy"]["acc"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one run or study folder"),
        (["RUN", "--split", "train", "--file", "x.txt"], "both --split and --file"),
        (["RUN", "--split", "dev"], "split"),
        (["RUN", "--file", "/nowhere.txt"], "/nowhere.txt"),
        (["RUN", "--out", "/nowhere/r.json"], "no folder /nowhere"),
        (["/nowhere"], "/nowhere is neither a run"),
        (["RUN", "--all"], "has no runs.csv"),
        (["RUN", "--tasks", "copies"], "no task 'copies'; there are copy"),
        (["RUN", "--tasks", "copy:f1"], "no metric 'f1'"),
        (["RUN", "--tasks", "/nowhere.jsonl"], "/nowhere.jsonl: no such file"),
        (["RUN", "--tasks", "copy,copy"], "same name"),
        (["RUN", "--tasks", "copy", "--shots", "65"], "only 64 other items"),
        (["RUN", "--by", "lang"], "--by lang: all documents"),
        (["RUN", "--tasks", "copy", "--by", "lang"], "--by groups a text"),
        (["RUN", "--tasks", "copy", "--chat"], "--chat is for tasks of the harness"),
        (["RUN", "--reliability", "r.png"], "needs --tasks"),
        (["RUN", "--out", "r.xlsx"], "as .json or as .csv"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, arguments, message, capsys):
    assert isoflop("evaluate", *(str(run) if a == "RUN" else a for a in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_a_run_without_a_checkpoint_is_refused(run, capsys, tmp_path):
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    assert isoflop("evaluate", str(tmp_path)) == 2
    assert "has no checkpoints" in capsys.readouterr().err


def test_what_of_a_task_a_run_has_read(run, task, capsys):
    assert isoflop("evaluate", str(run), "--tasks", str(task), "--contamination", "--json") == 0
    (by_task,) = json.loads(capsys.readouterr().out)["contamination"].values()
    (counts,) = by_task.values()
    assert counts["n_items"] == len(counts["shares"]) and counts["n_contaminated"] <= counts["n_told"]
    assert isoflop("evaluate", str(run), "--contamination") == 2
    assert "give --tasks" in capsys.readouterr().err
