"""experiments/training/metrics.py: log-spaced, cut where a run resumes, honest standard errors."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.training.metrics import Metrics, eval_steps, even_steps, log_steps, read


@given(st.integers(1, 10**6))
def test_steps_are_inside_the_run_and_its_end_is_among_them(n_steps):
    for steps in (log_steps(n_steps), eval_steps(n_steps)):
        assert n_steps in steps and min(steps) >= 1 and max(steps) == n_steps
    assert len(log_steps(n_steps)) <= 4 * np.log2(n_steps) + 2 and len(eval_steps(n_steps)) <= 7


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_runs_that_share_a_prefix_are_measured_at_the_same_steps_until_the_shorter_ends(n_steps, other):
    shared = range(1, min(n_steps, other))
    for steps in (log_steps, lambda n: eval_steps(n, aligned=True)):
        assert steps(n_steps) & {*shared} == steps(other) & {*shared} and n_steps in steps(n_steps)


def test_a_record_may_begin_with_the_lines_of_another(tmp_path):
    lines = [{"step": step, "train_loss": 1.0} for step in (1, 2, 3)]
    record = Metrics(tmp_path / "m.jsonl", 8, {"tokens": 10}, after_step=2, recent=[], lines=lines)
    assert read(tmp_path / "m.jsonl") == lines[:2] and record.last == lines[1]


def test_only_one_of_several_processes_writes(tmp_path):
    records = [Metrics(tmp_path / "m.jsonl", 8, {}, 0, [], writes=writes) for writes in (True, False)]
    for record in records:
        record.training(1, loss=1.0)
        record.close()
    assert len(read(tmp_path / "m.jsonl")) == 1 and records[0].last == records[1].last


def test_a_resumed_record_is_cut_at_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    record = Metrics(path, 8, {"tokens": 10}, after_step=0, recent=[])
    for step in range(1, 7):
        record.training(step, loss=1 / step, grad_norm=1.0, lr=0.1)
    record.sync()
    whole = path.read_text()
    with open(path, "a") as file:
        file.write('{"step": 7, "tok')  # cut off by a crash
    again = Metrics(path, 8, {"tokens": 10}, after_step=3, recent=[])
    assert [event["step"] for event in read(path)] == [1, 2, 3]
    for step in range(4, 7):
        again.training(step, loss=1 / step, grad_norm=1.0, lr=0.1)
    again.sync()
    assert path.read_text() == whole


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text(path.read_text()[:30])])
def test_a_record_that_was_removed_or_cut_while_the_run_trains_is_mended(tmp_path, harm):
    path = tmp_path / "metrics.jsonl"
    record = Metrics(path, 8, {"tokens": 10}, after_step=0, recent=[])
    record.training(1, loss=1.0)
    harm(path)
    record.training(2, loss=1.0)
    record.mend()
    record.training(3, loss=1.0)
    assert read(path) == record.lines and [line["step"] for line in record.lines] == [1, 2, 3]


def test_training_loss_is_the_mean_since_the_line_before(tmp_path):
    record = Metrics(tmp_path / "m.jsonl", 16, {"tokens": 10, "flops": 7}, after_step=0, recent=[])
    for step in range(1, 17):
        record.training(step, loss=float(step), grad_norm=2.0, lr=0.5)
    record.sync()
    last = read(tmp_path / "m.jsonl")[-1]
    before = read(tmp_path / "m.jsonl")[-2]["step"]
    assert last["step"] == 16 and last["tokens"] == 160 and last["flops"] == 112
    assert last["train_loss"] == np.mean(np.arange(before + 1, 17))


def test_bits_per_byte_and_standard_error_by_hand(tmp_path):
    record = Metrics(tmp_path / "m.jsonl", 1, {}, after_step=0, recent=[])
    record.validation(1, {"loss": np.array([1.0, 3.0]) * np.log(2)}, row_tokens=5, tokens_per_byte=0.5)
    event = read(tmp_path / "m.jsonl")[0]
    assert np.isclose(event["val_loss"], 2 * np.log(2)) and np.isclose(event["val_bits_per_byte"], 1.0)
    assert np.isclose(event["val_loss_se"], np.log(2)) and event["val_tokens"] == 10


def test_rows_that_weigh_more_count_more(tmp_path):
    record = Metrics(tmp_path / "m.jsonl", 1, {}, after_step=0, recent=[])
    measured = {
        "loss": np.array([1.0, 3.0]),
        "weight": np.array([3.0, 1.0]),
        "accuracy": np.array([1.0, 0.0]),
    }
    record.validation(1, measured, row_tokens=5, tokens_per_byte=0)
    event = read(tmp_path / "m.jsonl")[0]
    assert (event["val_loss"], event["val_accuracy"]) == (1.5, 0.75) and "val_bits_per_byte" not in event
    spread = (0.75 * (1 - 1.5)) ** 2 + (0.25 * (3 - 1.5)) ** 2
    assert np.isclose(event["val_loss_se"], np.sqrt(spread * 2 / 1))


def test_a_run_that_samples_responses_has_a_line_a_step(tmp_path):
    record = Metrics(tmp_path / "m.jsonl", 40, {}, 0, [], also_at=even_steps(40, 512))
    for step in range(1, 41):
        record.training(step, loss=float(step))
    record.sync()
    assert [line["train_loss"] for line in read(tmp_path / "m.jsonl")] == list(range(1, 41))
