"""Responses on disk: a kill at any moment loses one batch at most, and nothing is ever there twice."""

import json
import os
import random
import subprocess
import sys
import time

import numpy as np

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
    return [json.loads(line) for line in path.read_text().splitlines()]


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


def test_numbers_keep_whole_rows(tmp_path):
    path, values = tmp_path / "a.nats", np.arange(10, dtype=np.float32)
    with response_cache.open_losses(path, 10, 4) as (known, add):
        assert len(known) == 0
        add(values[:8])
    os.truncate(path, 4 * 7 + 2)  # in the middle of the eighth number
    with response_cache.open_losses(path, 10, 4) as (known, add):
        np.testing.assert_array_equal(known, values[:4])
        add(values[4:])
    with response_cache.open_losses(path, 10, 4) as (known, _):
        np.testing.assert_array_equal(known, values)
