"""What of a task's items a run has read: found in its own rows, and not in text it was never given."""

import dataclasses

import pytest

from experiments.evaluate.tasks.contamination import contamination, rows_read
from experiments.evaluate.tasks.task import Item, Task
from experiments.objective_configs import ExamplesConfig, SFTConfig
from tests.tiny_run import DOCUMENTS, make_training_cache, training_config


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path))
    return training_config(seq_len=128, batch_tokens=256, n_tokens=256 * 20, n_val_tokens=384)


def asked(name: str, texts: list[str]) -> Task:
    items = [Item(" ".join(text.split()[:-2]), " ".join(text.split()[-2:])) for text in texts]
    return Task(name, "cloze", tuple(items), (), "")


def test_items_that_were_read_are_found_and_others_are_not(config):
    tasks = [
        asked("seen", DOCUMENTS["train"]),
        asked("unseen", DOCUMENTS["validation"]),
        asked("short", ["a b c d"]),
    ]
    found = contamination(config, tasks)
    whole = [text for text in DOCUMENTS["train"] if any(text.encode() in row for row in rows_read(config))]
    assert len(whole) >= 9  # a row ends within three of them
    assert found["seen"]["shares"] == [float(text in whole) for text in DOCUMENTS["train"]]
    assert found["seen"]["n_contaminated"] == len(whole)
    assert found["unseen"] == {"n_items": 12, "n_told": 12, "n_contaminated": 0, "shares": [0.0] * 12}
    assert found["short"]["n_told"] == 0 and found["short"]["shares"] == [None]


def test_only_rows_of_the_steps_that_were_taken_count(config):
    short = dataclasses.replace(config, n_tokens=256)
    assert len(list(rows_read(short))) == 2 < len(list(rows_read(config)))


def test_runs_on_something_else_than_text_are_refused(config):
    tuned = dataclasses.replace(config, objective=SFTConfig(), examples=ExamplesConfig("conversations", "x"))
    with pytest.raises(ValueError, match="this run was trained by 'sft': ask the run that it started from"):
        contamination(tuned, [])
