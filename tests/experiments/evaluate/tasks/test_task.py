"""Task files: what a line may say, what is invalid and where, and how examples are drawn."""

import gzip
import json

import pytest

from experiments.evaluate.tasks.task import build_prompt, read_task


def write(path, *lines) -> str:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return str(path)


ITEMS = [
    {
        "prompt": f"{i} and one is",
        "choices": [str(i), str(i + 1)],
        "target": str(i + 1),
        "document": str(i // 2),
    }
    for i in range(8)
]


def test_a_file_without_a_header(tmp_path):
    task = read_task(write(tmp_path / "sums.jsonl", *ITEMS))
    assert (task.name, task.metric, task.chance, task.ceiling) == ("sums", "multiple_choice", 0.5, 1.0)
    assert task.items[3].choices == ("3", "4") and task.items[3].line == 4 and task.delimiter == " "
    plain = read_task(write(tmp_path / "b.jsonl", {"prompt": "one,", "target": "two"}))
    assert plain.metric == "exact_match" and plain.chance is None


def test_a_header_sets_what_holds_for_all_items(tmp_path):
    header = {"metric": "cloze", "delimiter": "", "chance": 0, "max_tokens": 3}
    task = read_task(write(tmp_path / "a.jsonl", header, *ITEMS))
    assert (task.metric, task.delimiter, task.chance, task.max_tokens) == ("cloze", "", 0, 3)
    assert len(task.items) == 8 and task.items[0].line == 2


def test_a_compressed_file_and_a_target_by_index(tmp_path):
    line = json.dumps({"prompt": "x", "choices": ["a", "b"], "target": 1})
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    assert read_task(str(tmp_path / "a.jsonl.gz")).items[0].target == "b"


def test_broken_lines_are_named_and_the_rest_is_asked(tmp_path):
    wrong = {
        2: ("{", "not JSON"),
        3: ({"prompt": "  ", "target": "x"}, "empty"),
        4: ({"prompt": "x", "choices": ["a", "b"]}, "no 'target'"),
        5: ({"prompt": "x", "choices": ["a", "b"], "target": "c"}, "none of the choices"),
        6: ({"prompt": "x", "choices": ["a", "b"], "target": 2}, "not the index"),
        7: ({"prompt": "x", "choices": ["a", "a"], "target": "a"}, "two different"),
        8: ("[1]", "list"),
        9: ({"prompt": "x", "target": "a"}, "two different"),
        10: ({"target": "a"}, "no 'prompt'"),
    }
    task = read_task(
        write(
            tmp_path / "a.jsonl",
            {"metric": "multiple_choice"},
            *(line for line, _ in wrong.values()),
            ITEMS[0],
        )
    )
    assert len(task.items) == 1 and task.items[0].line == 11
    assert [one.line for one in task.invalid] == list(wrong)
    for one in task.invalid:
        assert wrong[one.line][1] in one.reason


@pytest.mark.parametrize("line", [b"[" * 100_000, b"1" * 5000], ids=["deep", "long"])
def test_a_line_that_no_parser_takes_is_named_like_any_other(line, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json.dumps(ITEMS[0]).encode() + b"\n" + line + b"\n")
    task = read_task(str(tmp_path / "a.jsonl"))
    assert len(task.items) == 1 and [one.line for one in task.invalid] == [2]
    assert task.invalid[0].reason.startswith("not JSON")


@pytest.mark.parametrize(
    "lines, message",
    [
        ([{"metrics": "cloze"}], "the header has 'metrics'"),
        ([{"metric": "f1"}], "metric='f1'"),
        ([{"max_tokens": 2.5}], "is of type int"),
        ([{"max_tokens": 0}], "at least 1"),
        ([{"prompt": ""}], "no item that can be asked; line 1: the prompt is empty"),
        ([""], "no item"),
    ],
)
def test_a_file_that_asks_nothing_is_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as error:
        read_task(write(tmp_path / "a.jsonl", *lines))
    assert "a.jsonl" in str(error.value)


def test_examples_are_drawn_by_seed_and_item_and_never_tell_the_answer(tmp_path):
    task = read_task(write(tmp_path / "a.jsonl", *ITEMS))
    drawn = [build_prompt(task, i, shots=3, seed=1) for i in range(8)]
    for i, prompt in enumerate(drawn):
        *examples, last = prompt.split("\n\n")
        assert last == ITEMS[i]["prompt"] and len(set(examples)) == 3
        allowed = {
            f"{one['prompt']} {one['target']}" for one in ITEMS if one["document"] != ITEMS[i]["document"]
        }
        assert set(examples) <= allowed
    assert drawn == [build_prompt(task, i, shots=3, seed=1) for i in range(8)]
    assert drawn != [build_prompt(task, i, shots=3, seed=2) for i in range(8)]
    with pytest.raises(ValueError, match="only 6 other items"):
        build_prompt(task, 0, shots=7)


def test_more_examples_begin_with_the_same(tmp_path):
    task = read_task(write(tmp_path / "a.jsonl", *ITEMS))
    assert build_prompt(task, 0, shots=2).split("\n\n")[0] == build_prompt(task, 0, shots=5).split("\n\n")[0]
