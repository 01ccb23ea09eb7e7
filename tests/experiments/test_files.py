"""Durable writes: the old file or the new one, whole, whatever happens."""

import os
import resource
import threading
from pathlib import Path

import pytest

from experiments.files import read_json, sync_folder, write_atomic


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_atomic(tmp_path / "file", "Grüße\r\n")
    assert (tmp_path / "file").read_bytes() == "Grüße\r\n".encode()
    write_atomic(str(tmp_path / "file"), b"\xff\x00")
    assert (tmp_path / "file").read_bytes() == b"\xff\x00"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_it_is_for_the_mask_to_say(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "file", "")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_link_stays_and_the_file_it_names_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("old")
    (tmp_path / "link").symlink_to("there/file")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_text() == "new"
    assert os.listdir(tmp_path / "there") == ["file"]


def test_a_device_and_a_pipe_are_written_to_and_stay(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through" and Path(tmp_path / "pipe").is_fifo()
    os.close(reader)
    write_atomic("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomic(tmp_path / "file", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomic(tmp_path / "file", b"x" * 100_001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "file").read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "folder", "new")
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "file", "new")
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == []


def test_a_reader_never_sees_a_part(tmp_path):
    path, sizes = tmp_path / "file", (100_000, 300_000)
    write_atomic(path, b"x" * sizes[0])
    seen, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(len(Path(path).read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(60):
        write_atomic(path, b"x" * sizes[i % 2])
    done.set()
    reader.join()
    assert seen and set(seen) <= set(sizes)


def test_a_folder_is_synced_without_leaving_it_open(tmp_path):
    before = os.listdir("/dev/fd")
    sync_folder(tmp_path)
    assert os.listdir("/dev/fd") == before
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


@pytest.mark.parametrize(
    "content, said",
    [
        (b'{"law": "chin', r"x\.json is not JSON .*was it cut short or edited\?"),
        (b"\xff\xfe", r"x\.json is not JSON"),
        (b"[1, 2]", r"x\.json holds a JSON list; expected an object"),
    ],
)
def test_damaged_json_is_named(tmp_path, content, said):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_json(tmp_path / "x.json")
