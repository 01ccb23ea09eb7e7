"""Event files are read back record by record, as TensorBoard reads them."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from launch.monitor import tensorboard
from launch.store import PlannedRun, Store
from tests.tiny_run import isoflop


def make_study(folder: Path, n_runs: int = 2) -> Store:
    store = Store(folder / "study")
    store.create()
    (store.folder / "study.json").write_text(json.dumps({"name": "fake", "overrides": []}))
    config = {"optimizer": {"lr": 0.01}}
    runs = [PlannedRun(f"{i}run", "grid", "s", 20_200, 1_050_000, 1.0, config) for i in range(n_runs)]
    store.plan.add(runs)
    return store


def line(step: int, **numbers: float) -> str:
    return json.dumps({"step": step, "tokens": 8 * step, "flops": 64 * step, **numbers}) + "\n"


def write_lines(store: Store, run_id: str, text: str) -> None:
    path = store.run_folder(run_id) / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read_events(path: Path) -> list[event_pb2.Event]:
    """Events of one file; both checksums of every record are checked."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        body, rest = data[12 : 12 + length], data[12 + length :]
        assert len(body) == length and struct.unpack("<I", rest[:4])[0] == masked_crc32c(body)
        events.append(event_pb2.Event.FromString(body))
        data = rest[4:]
    assert events[0].file_version == "brain.Event:2"
    return events[1:]


def read_points(out: Path) -> dict[str, list[tuple[int, str, float]]]:
    """(step, what, value) of every run, files in the order TensorBoard takes."""
    return {
        folder.relative_to(out).as_posix(): [
            (event.step, value.tag, round(value.simple_value, 4))
            for path in sorted(folder.glob("*tfevents*"))
            for event in read_events(path)
            for value in event.summary.value
        ]
        for folder in sorted(out.glob("*/*"))
    }


def test_every_run_is_mirrored_and_again_only_what_is_new(tmp_path):
    store, out = make_study(tmp_path, n_runs=3), tmp_path / "tb"
    first = line(1, train_loss=5.5, lr=0.1) + line(2, val_loss=5.0)
    write_lines(store, "0run", first + '{"step": 3, "train')  # the worker is writing just now
    write_lines(store, "1run", line(1, train_loss=float("inf")))
    assert tensorboard.mirror(store, out) == 3
    points = {
        "grid/N20.2k-D1.05M-lr0.01-0run": [(1, "train_loss", 5.5), (1, "lr", 0.1), (2, "val_loss", 5.0)],
        "grid/N20.2k-D1.05M-lr0.01-1run": [(1, "train_loss", float("inf"))],
    }
    assert read_points(out) == points
    files = {path: path.read_bytes() for path in out.rglob("*tfevents*")}
    assert tensorboard.mirror(store, out) == 0
    write_lines(store, "0run", first + line(3, train_loss=4.5))
    assert tensorboard.mirror(store, out) == 1
    points["grid/N20.2k-D1.05M-lr0.01-0run"].append((3, "train_loss", 4.5))
    assert read_points(out) == points
    assert all(path.read_bytes() == content for path, content in files.items())


def test_a_run_that_was_set_back_adds_nothing_twice(tmp_path):
    store, out = make_study(tmp_path), tmp_path / "tb"
    lines = [line(step, train_loss=float(step)) for step in range(1, 6)]
    write_lines(store, "0run", "".join(lines[:4]))
    tensorboard.mirror(store, out)
    write_lines(store, "0run", "".join(lines[:2]))  # it resumes from its checkpoint and writes them again
    assert tensorboard.mirror(store, out) == 0
    write_lines(store, "0run", "".join(lines))
    assert tensorboard.mirror(store, out) == 1
    (points,) = read_points(out).values()
    assert [step for step, _, _ in points] == [1, 2, 3, 4, 5]


def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    store, seen = make_study(tmp_path), {}
    for run_id in store.plan.runs():
        write_lines(store, run_id, line(1, train_loss=1.0))
    tensorboard.mirror(store, tmp_path / "tb", seen)
    write_lines(store, "1run", line(1, train_loss=1.0) + line(2, train_loss=1.0))
    assert [run.run_id for run, _ in tensorboard.news(store, seen)] == ["1run"]


def test_the_command_follows_until_the_study_is_finished(tmp_path, capsys, monkeypatch):
    store = make_study(tmp_path)
    write_lines(store, "0run", line(1, train_loss=1.0))

    def end_of_study(seconds):
        write_lines(store, "1run", line(1, train_loss=1.0) + line(2, train_loss=1.0))
        store.finished.write_text("done\n")

    monkeypatch.setattr("launch.commands.studies.tensorboard.time.sleep", end_of_study)
    assert isoflop("tensorboard", str(store.folder), "--follow") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1 new points in ") and said[1:] == ["2 new points"]
    assert isoflop("tensorboard", str(store.folder), "--follow") == 0
    assert capsys.readouterr().out.startswith("0 new points")
    assert len(read_points(store.folder / "tensorboard")) == 2


def test_tensorflow_is_not_imported(tmp_path):
    store = make_study(tmp_path)
    write_lines(store, "0run", line(1, train_loss=1.0))
    program = (
        "import sys; from launch.cli import main; "
        f"code = main(['tensorboard', {str(store.folder)!r}]); "
        "sys.exit(code or bool({'tensorflow', 'jax'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_writer_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboardX.record_writer", None)
    with pytest.raises(ValueError, match=r"pip install .*\[tensorboard\]"):
        tensorboard.mirror(make_study(tmp_path), tmp_path / "tb")
