"""Leases: one claimant wins each epoch, and what a heartbeat, a release or a death means for the next."""

import os
import threading
import time
from pathlib import Path

import pytest

from launch.store import leases
from launch.store.leases import Leases, known_dead, process_identity, publish


@pytest.fixture
def held(tmp_path) -> Leases:
    for name in ("lease", "scratch"):
        (tmp_path / name).mkdir()
    return Leases(tmp_path / "lease", tmp_path / "scratch", ttl=60.0)


def age(held: Leases, name: str, seconds: float) -> None:
    os.utime(held.folder / name, (time.time() - seconds,) * 2)


def test_an_epoch_follows_only_one_that_is_given_back_or_silent(held):
    first = held.claim("a", 0)
    assert first and first.epoch == 1 and held.claim("a", 1) is None and held.claim("a", 0) is None
    age(held, "a.1", 50)
    assert held.is_held("a", 1)
    age(held, "a.1", 70)
    assert not held.is_held("a", 1)
    held.heartbeat(first)
    assert held.is_held("a", 1)
    held.release(first)
    second = held.claim("a", 1)
    assert second and second.epoch == 2 and second.deaths == 0
    assert held.lost(first) and not held.lost(second)


def test_a_lease_stamped_in_the_future_is_judged_by_the_observers_own_clock(held, monkeypatch):
    """As by a host whose clock was set back since: its stamp must change, or the run is held for ever."""
    first, now = held.claim("a", 0), time.monotonic()
    age(held, "a.1", -100_000)
    for later, is_held in ((0, True), (50, True), (70, False)):
        monkeypatch.setattr(leases.time, "monotonic", lambda later=later: now + later)
        assert held.is_held("a", 1) == is_held
    age(held, "a.1", -100_001)  # its owner lives
    assert held.is_held("a", 1)
    held.heartbeat(first)
    assert held.is_held("a", 1)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b'{"host": "a"}'])
def test_of_a_lease_with_damaged_words_the_heartbeat_tells(content, held):
    held.claim("a", 0)
    (held.folder / "a.1").write_bytes(content)
    assert held.holder("a", 1) == "" and held.claim("a", 1) is None
    age(held, "a.1", 70)
    second = held.claim("a", 1)
    assert second and second.epoch == 2


def test_of_many_claimants_one_wins(held):
    won, barrier = [], threading.Barrier(16)

    def race():
        barrier.wait()
        won.append(held.claim("a", 0))

    threads = [threading.Thread(target=race) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in won) == 1 and not list(held.scratch.iterdir())


def test_a_name_is_given_once_and_whole(tmp_path):
    assert publish(tmp_path, tmp_path / "a", "first", durable=True)
    assert not publish(tmp_path, tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first" and [p.name for p in Path(tmp_path).iterdir()] == ["a"]


def test_only_a_process_of_this_boot_and_host_is_known_dead(monkeypatch):
    me = process_identity(os.getpid())
    assert not known_dead(me)
    assert known_dead(me | {"start": me["start"] + 1})  # the pid was given to another process
    assert not known_dead(me | {"start": me["start"] + 1, "host": "elsewhere"})
    monkeypatch.setattr(leases, "_host", lambda: "")  # no /proc: nothing is known
    assert not known_dead({"host": "", "pid": 1, "start": 5})
