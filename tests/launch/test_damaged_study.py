"""A study's folder of which a file is damaged: one line that names the file, and no traceback."""

import shutil
from pathlib import Path

import pytest

from launch import cli
from launch.store import Store, study_file

OLD = Path(__file__).parents[1] / "data/old/study.tar.xz"
RUN = "7024f23401bf"
READERS = {
    "store/study.jsonl": lambda store: store.plan.runs(),
    "store/waiting.json": lambda store: store.plan.waiting_stages(),
    f"store/done/{RUN}": lambda store: store.result(RUN),
    f"store/failed/{RUN}.1": lambda store: store.error(RUN, 1),
    "study.json": study_file.read,
}
DAMAGES = {
    "cut short": b'{"a": [1, ',
    "not text": b"\xff\xfe\x00",
    "nested": b"[" * 100_000,
    "no object": b"3",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "study"
    shutil.unpack_archive(OLD, folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_in_one_line(name, damage, study, capsys):
    file = study / name
    whole = file.read_bytes() if file.exists() else None
    file.write_bytes(DAMAGES[damage])
    with pytest.raises(ValueError, match=f"{file}.* (is not JSON|not a planned run|holds a JSON int)"):
        READERS[name](Store(study))
    assert cli.main(["status", str(study)]) in (0, 2)  # whether it needs the file or not
    said = capsys.readouterr().err
    assert said.count("\n") <= 1 and "Traceback" not in said and len(said) < 400
    file.unlink() if whole is None else file.write_bytes(whole)
