"""What a path names, and when a checkpoint is another one."""

import os
import shutil

import pytest

from experiments import files
from experiments.evaluate.checkpoint_paths import find_all
from experiments.files import fingerprint

pytestmark = pytest.mark.usefixtures("cache_of_run")


def test_a_copy_is_the_same_checkpoint_and_other_parameters_are_not(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    assert fingerprint(copy) == fingerprint(run)
    (copy / "metrics.jsonl").write_text("{}")
    assert fingerprint(copy) == fingerprint(run)
    largest = max((copy / "checkpoints").rglob("params/**/d/*"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    assert fingerprint(copy) != fingerprint(run)


def test_hashes_of_large_files_are_remembered_until_they_change(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    plain = fingerprint(run)
    monkeypatch.setattr(files, "REMEMBERED", 0)
    assert fingerprint(run) == plain
    monkeypatch.setattr("hashlib.file_digest", None)  # nothing is read again
    assert fingerprint(run) == plain


def test_a_file_replaced_by_another_of_its_size_and_time_is_read_again(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "REMEMBERED", 0)
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    before, times = fingerprint(tmp_path), weights.stat()
    for replace in (weights.write_bytes, lambda content: files.write_atomic(weights, content)):
        replace(b"two")
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert weights.stat().st_mtime_ns == times.st_mtime_ns and fingerprint(tmp_path) != before


def test_a_study_without_finished_runs_is_refused(tmp_path):
    (tmp_path / "runs.csv").write_text("run_id,status,loss\na,diverged,inf\n")
    with pytest.raises(ValueError, match="none of the 0 finished runs"):
        find_all(tmp_path)
