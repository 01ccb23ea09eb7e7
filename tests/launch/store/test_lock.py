"""One process at a time: others are refused by name, or wait; the lock goes with its holder."""

import os
import subprocess
import sys
import time

import pytest

from launch.store.lock import exclusive_lock

HOLDER = """
import sys, time
from launch.store.lock import exclusive_lock
with exclusive_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_refused_and_shown_who_holds_the_lock(holder, tmp_path):
    who = f"process {holder.pid} is at work here"
    with pytest.raises(ValueError, match=who), exclusive_lock(tmp_path / "lock"):
        pass


def test_the_patient_one_gets_the_lock_of_a_killed_holder(holder, tmp_path):
    began = time.monotonic()
    with pytest.raises(ValueError, match="is at work here"), exclusive_lock(tmp_path / "lock", timeout=0.5):
        pass
    assert time.monotonic() - began >= 0.5
    holder.kill()
    with exclusive_lock(tmp_path / "lock", timeout=30):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
