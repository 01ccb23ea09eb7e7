"""Checkpoints by tasks: what a name means, who is opened when, rows, pairs and seeds."""

import csv
import io
import math

import pytest

from experiments.evaluate import checkpoint_comparison
from experiments.evaluate.checkpoint_comparison import (
    CheckpointResponses,
    as_csv,
    differences,
    find_task,
    over_seeds,
    rows,
)
from experiments.evaluate.checkpoint_paths import Checkpoint
from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.builtin_tasks import BUILTIN_TASKS
from tests.experiments.evaluate.answered import marked, never, run, untrained


def of(checkpoint: Checkpoint, **marks: str) -> CheckpointResponses:
    return CheckpointResponses(checkpoint, {name: marked(each) for name, each in marks.items()})


def test_a_name_is_an_embedded_task_its_metric_or_a_file(tmp_path):
    copy = find_task("copy", limit=3)
    assert (copy.name, copy.metric, len(copy.items), copy.chance) == ("copy", "multiple_choice", 3, 0.25)
    cloze = find_task("copy:cloze", limit=3)
    assert (cloze.name, cloze.metric, cloze.chance) == ("copy:cloze", "cloze", None)
    assert cloze.items == copy.items != find_task("copy", limit=3, seed=1).items
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "a", "target": "b"}\n')
    assert find_task(str(file)).name == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("copies", f"no task 'copies'; there are {', '.join(BUILTIN_TASKS)}, or give a .jsonl file"),
        ("copy:f1", "--tasks copy:f1: no metric 'f1'; there are multiple_choice, cloze, exact_match"),
        ("tasks/copy", "--tasks tasks/copy: no such file"),
        ("copy.jsonl", "--tasks copy.jsonl: no such file"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name, message):
    with pytest.raises(ValueError) as error:
        find_task(name)
    assert message in str(error.value)


def test_a_checkpoint_is_opened_only_if_there_is_something_to_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    checkpoint, seen = run(tmp_path, "a", seed=0), []
    tasks = [find_task(name, limit=4) for name in ("copy", "arithmetic")]
    loaded = untrained()
    found = checkpoint_comparison.evaluate_tasks(
        checkpoint, tasks, loader=lambda: loaded, limit=2, progress=lambda *about: seen.append(about)
    )
    assert list(found.responses) == ["copy", "arithmetic"] and len(found.responses["copy"].items) == 2
    assert seen == [("copy", 2, 2), ("arithmetic", 2, 2)]
    assert checkpoint_comparison.evaluate_tasks(checkpoint, tasks, loader=never, limit=2) == found
    (checkpoint.folder / "config.json").write_text('{"seed": 1}')
    with pytest.raises(AssertionError):  # it is another checkpoint now
        checkpoint_comparison.evaluate_tasks(checkpoint, tasks, loader=never, limit=2)


def test_rows_are_numbers_first_and_then_what_the_study_says(tmp_path):
    row = {"run_id": "r1", "loss": "3.5", "n": "not that of the items"}
    made = rows([of(Checkpoint(tmp_path, row), easy="1110", hard="0010")])
    assert [(one["task"], one["metric"]) for one in made if one["metric"] == "acc"] == [("t", "acc")] * 2
    assert [one["value"] for one in made if one["metric"] == "acc"] == [0.75, 0.25]
    [prob, _] = [one for one in made if one["metric"] == "prob"]
    assert (prob["chance"], prob["ceiling"]) == (None, None)
    for one in made:
        assert (*one,) == (*checkpoint_comparison.COLUMNS, "loss")
        assert (one["run_id"], one["loss"], one["n"]) == ("r1", "3.5", 4)
    [narrow, wide] = [rows([of(Checkpoint(tmp_path), t="1110")], level)[0] for level in (0.5, 0.99)]
    assert wide["lo"] < narrow["lo"] < narrow["hi"] < wide["hi"]


def test_a_table_has_every_column_and_leaves_empty_what_is_not_known():
    table = [{"run_id": "a", "value": 0.5, "se": math.nan}, {"run_id": "b", "chance": None, "stage": "x, y"}]
    text = as_csv(table)
    first, second = csv.DictReader(io.StringIO(text))
    assert list(first) == [*checkpoint_comparison.COLUMNS, "stage"]
    assert (first["value"], first["se"], first["stage"]) == ("0.5", "", "")
    assert (second["value"], second["chance"], second["stage"]) == ("", "", "x, y")
    assert text.endswith("\n") and "\r" not in text


def test_checkpoints_are_compared_with_the_first(tmp_path):
    some = [of(Checkpoint(tmp_path), u=marks) for marks in ("1100", "1111", "1000")]
    better, worse = differences(some)
    assert (better["u"].value, worse["u"].value) == (0.5, -0.25)
    assert better["u"] == task_metrics.difference(some[1].responses["u"], some[0].responses["u"])
    assert differences(some[:1]) == []


def test_seeds_are_joined_where_all_else_is_the_same(tmp_path):
    some = [
        of(run(tmp_path, "a", seed=0, lr=1), u="1100", v="1111"),
        of(run(tmp_path, "b", seed=0, lr=2), u="0000", v="0000"),
        of(run(tmp_path, "c", lr=1, seed=5), u="1010", v="0000"),
        of(run(tmp_path, "d", lr=1), u="0000", v="0000"),  # as of Hugging Face: it has no seed
        of(run(tmp_path, "e", lr=1), u="0000", v="0000"),
    ]
    found = over_seeds(some)
    assert [(one.task, [c.name for c in one.checkpoints]) for one in found] == [
        ("u", ["a", "c"]),
        ("v", ["a", "c"]),
    ]
    assert [one.mean.estimate.value for one in found] == [0.5, 0.5]
    # u: the seeds' means are equal; v: they are 1 and 0, and no item says otherwise.
    assert found[0].mean.between_sd == 0 and found[1].mean.between_sd == pytest.approx(math.sqrt(0.5))


def test_a_run_that_is_given_twice_is_one_seed(tmp_path):
    some = [of(run(tmp_path, name, seed=seed), u="10") for name, seed in (("a", 0), ("b", 1))]
    assert [[c.name for c in one.checkpoints] for one in over_seeds([*some, some[0]])] == [["a", "b"]]
    assert over_seeds([some[0], some[0]]) == []
