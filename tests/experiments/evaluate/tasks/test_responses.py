"""What is asked once is not asked again; what is too long is reported; and what decides an answer."""

import dataclasses
import json

import pytest

from experiments.evaluate.tasks.responses import cache_path, collect_responses
from experiments.evaluate.tasks.task import Task, build_prompt, read_task
from tests.experiments.evaluate.answered import never, untrained


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def loaded():
    return untrained()


def write(path, *lines) -> Task:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_task(str(path))


@pytest.mark.parametrize("metric", ["multiple_choice", "cloze", "exact_match"])
def test_asked_once_and_then_read(loaded, tmp_path, metric):
    lines = [{"prompt": f"{i} is", "choices": ["even", "odd"], "target": i % 2} for i in range(32)]
    task = write(tmp_path / "t.jsonl", {"metric": metric, "max_tokens": 4}, *lines)
    few = collect_responses("abc", lambda: loaded, task, limit=16)
    seen = []
    found = collect_responses(
        "abc", lambda: loaded, task, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (32, 32) and seen[0][0] > 16
    assert found.records[:16] == few.records
    assert collect_responses("abc", never, task).records == found.records
    with pytest.raises(AssertionError):
        collect_responses("another checkpoint", never, task)
    log = cache_path("abc", task, 0, 0).read_text().splitlines()
    assert sorted(json.loads(line)["i"] for line in log) == list(range(32))


def test_greedy_generation_and_cloze_agree(loaded, tmp_path):
    """The target is generated exactly where each of its tokens is the likeliest."""
    prompts = [f"number {i}:" for i in range(6)]
    generate = {"metric": "exact_match", "max_tokens": 5, "stop": "", "delimiter": ""}
    task = write(tmp_path / "a.jsonl", generate, *({"prompt": p, "target": "x"} for p in prompts))
    said = collect_responses("s", lambda: loaded, task)
    texts = [record["text"] for record in said.records]
    reported = [(p, t) for p, t in zip(prompts, texts) if t.strip() and len(t.encode()) == 5]
    assert reported
    cloze = {"metric": "cloze", "delimiter": ""}
    lines = [{"prompt": p, "target": t} for p, t in reported]
    lines += [{"prompt": p, "target": t[:-1] + "~"} for p, t in reported]
    found = collect_responses("s", lambda: loaded, write(tmp_path / "b.jsonl", cloze, *lines))
    assert [record["greedy"] for record in found.records] == [True] * len(reported) + [False] * len(reported)


def test_what_is_too_long_is_reported_by_line_and_the_rest_is_asked(loaded, tmp_path):
    lines = [{"prompt": "x" * n, "choices": ["a", "b"], "target": 0} for n in (10, 62, 63, 200)]
    task = write(tmp_path / "t.jsonl", *lines)
    found = collect_responses("abc", lambda: loaded, task)
    # 1 + n + 2 tokens, the last of which is not read: 64 are the context.
    assert [item.line for item in found.items] == [1, 2]
    assert [one.line for one in found.invalid] == [3, 4]
    assert found.invalid[0].reason == "65 tokens; the context of this checkpoint is 64"
    assert collect_responses("abc", never, task) == found
    with pytest.raises(ValueError, match="u: no item can be asked of this checkpoint; the first: 202 tokens"):
        collect_responses("abc", lambda: loaded, write(tmp_path / "u.jsonl", lines[-1]))


def test_a_prompt_leaves_room_for_an_answer(loaded, tmp_path):
    lines = [{"prompt": "x" * n, "target": "y"} for n in (62, 63, 64)]
    task = write(tmp_path / "t.jsonl", {"metric": "exact_match", "max_tokens": 2}, *lines)
    found = collect_responses("abc", lambda: loaded, task)
    # EOS, the prompt and a token of the answer.
    assert [item.line for item in found.items] == [2] and [one.line for one in found.invalid] == [3, 4]
    assert found.invalid[0].reason == "65 tokens; the context of this checkpoint is 64"


def test_ids_beyond_the_vocabulary_say_nothing(tmp_path):
    loaded = untrained(vocab_size=4096)  # most of what it draws is beyond
    task = write(
        tmp_path / "t.jsonl", {"metric": "exact_match", "max_tokens": 9}, {"prompt": "x", "target": "y"}
    )
    [record] = collect_responses("abc", lambda: loaded, task).records
    assert len(record["text"]) < 9


def test_lines_that_are_no_item_are_reported_before_those_that_are_too_long(loaded, tmp_path):
    lines = [{"prompt": "x" * n, "choices": ["a", "b"], "target": 0} for n in (200, 10, 0)]
    found = collect_responses("abc", lambda: loaded, write(tmp_path / "t.jsonl", *lines))
    assert [one.line for one in found.invalid] == [3, 1] and [item.line for item in found.items] == [2]


def test_solved_examples_are_written_before_the_prompt(loaded, tmp_path):
    lines = [{"prompt": f"{i}:", "choices": ["a", "b"], "target": i % 2} for i in range(6)]
    task = write(tmp_path / "t.jsonl", *lines)
    found = collect_responses("abc", lambda: loaded, task, shots=3, seed=1)
    written = [line | {"prompt": build_prompt(task, i, 3, 1)} for i, line in enumerate(lines)]
    assert (
        found.records
        == collect_responses("abc", lambda: loaded, write(tmp_path / "u.jsonl", *written)).records
    )
    assert found.records != collect_responses("abc", lambda: loaded, task, shots=3, seed=2).records


def test_a_log_is_of_all_that_decides_the_answers():
    task = Task("t", "cloze", (), (), "content")
    changes = {"content": "c", "metric": "exact_match", "delimiter": "", "stop": "", "max_tokens": 3}
    logs = [cache_path("abc", dataclasses.replace(task, **{k: v}), 2, 0) for k, v in changes.items()]
    logs += [cache_path(*how) for how in [("abc", task, 2, 0), ("abcd", task, 2, 0)]]
    logs += [cache_path("abc", task, *how) for how in [(0, 0), (1, 0), (2, 1)]]
    assert len(set(logs)) == len(logs) == 10
    # The name says nothing of the responses, nor does the seed where it draws no examples.
    assert cache_path("abc", dataclasses.replace(task, name="u"), 2, 0) == cache_path("abc", task, 2, 0)
    assert cache_path("abc", task, 0, 7) == cache_path("abc", task, 0, 0)
