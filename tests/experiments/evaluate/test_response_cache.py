"""Responses on disk: a kill at any moment loses one batch at most, and nothing is ever there twice."""

import json
import math
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.evaluate import response_cache

WRITER = """
import pathlib, sys
from experiments.evaluate import response_cache
with response_cache.open_records(pathlib.Path(sys.argv[1])) as (known, add):
    print("open", flush=True)
    left = [i for i in range(3000) if i not in known]
    for first in range(0, len(left), 7):
        add({i: {"text": "x" * (i % 97)} for i in left[first : first + 7]})
        print(left[first], flush=True)
"""


def start(path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)


def lines_of(path) -> list[dict]:
    """The records, without their checksums."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "crc32"} for record in records]


def test_kill_9_again_and_again(tmp_path):
    path, rng, before = tmp_path / "log.jsonl", random.Random(0), 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "open\n"
        for _ in range(rng.randrange(1, 40)):
            said = process.stdout.readline()
        time.sleep(rng.random() / 500)
        process.kill()
        process.communicate()
        with response_cache.open_records(path) as (known, _):
            # All that was said to be added is there.
            assert int(said) in known and len(known) >= before
            before = len(known)
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True, stdout=subprocess.DEVNULL)
    found = lines_of(path)
    assert [one["i"] for one in found] == list(range(3000))
    assert all(one["text"] == "x" * (one["i"] % 97) for one in found)


def test_a_line_torn_in_two_is_cut_off_and_asked_again(tmp_path):
    path = tmp_path / "log.jsonl"
    with response_cache.open_records(path) as (_, add):
        add({0: {"a": 1}, 1: {"a": 2}})
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        with response_cache.open_records(path) as (known, add):
            assert len(known) == whole[:cut].count(b"\n")
            add({i: {"a": i + 1} for i in range(2)})
        assert path.read_bytes() == whole


def test_an_item_known_is_not_written_again(tmp_path):
    with response_cache.open_records(tmp_path / "a") as (known, add):
        add({0: {"a": 1}})
        add({0: {"a": 2}, 1: {"a": 3}})
        assert known == {0: {"a": 1}, 1: {"a": 3}}
    assert lines_of(tmp_path / "a") == [{"i": 0, "a": 1}, {"i": 1, "a": 3}]


def test_a_second_process_waits_for_the_first(tmp_path):
    path = tmp_path / "log.jsonl"
    with response_cache.open_records(path) as (_, add):
        second = start(path)
        time.sleep(0.5)
        assert path.read_bytes() == b""
        add({i: {"text": "x" * (i % 97)} for i in range(1500)})
    second.communicate()
    assert second.returncode == 0
    assert [one["i"] for one in lines_of(path)] == list(range(3000))


@pytest.mark.parametrize(
    "wrong", [b"garbage\n", b"\0" * 40 + b"\n", b"[1]\n", b'{"i": 0}\n', b'"crc32"\n', b"1\n"]
)
def test_lines_that_nobody_wrote_are_dropped_and_asked_again(wrong, tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    with response_cache.open_records(path) as (_, add):
        add({0: {"a": math.nan}, 1: {"a": 0.1}, 2: {"a": [1e-300]}})
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + wrong + second.replace(b"0.1", b"0.2") + third)
    for n_said in (1, 0):  # the file is mended, once
        with response_cache.open_records(path) as (known, _):
            assert known.keys() == {0, 2} and known[2] == {"a": [1e-300]}
        assert capsys.readouterr().err.count(f"{path}: 2 damaged records") == n_said
    assert path.read_bytes() == first + third


def test_losses_are_known_up_to_the_first_batch_that_is_damaged(tmp_path, capsys):
    path, values = tmp_path / "a.nats", np.arange(10, dtype=np.float32)
    with response_cache.open_losses(path, 10) as (known, add):
        assert len(known) == 0
        add(values[:4])
        first = path.read_bytes()
        add(values[4:8])
        add(values[8:])
    whole = path.read_bytes()
    zeros, flipped = first + bytes(len(whole) - len(first)), bytearray(whole)
    flipped[len(first) + 12] ^= 1
    for damaged in (whole[: len(first) + 9], zeros, bytes(flipped), first + b"nonsense"):
        path.write_bytes(damaged)
        with response_cache.open_losses(path, 10) as (known, add):
            np.testing.assert_array_equal(known, values[:4])
            assert "damaged" in capsys.readouterr().err
            add(values[4:8])
            add(values[8:])
        assert path.read_bytes() == whole
    with response_cache.open_losses(path, 10) as (known, _):
        np.testing.assert_array_equal(known, values)
    with response_cache.open_losses(path, 9) as (known, _):
        assert len(known) == 0, "of another text"
