"""How a process of ours learns that it should leave."""

import os
import signal
import subprocess
import sys
import time

import pytest

CODE = """
import sys, time
from launch.workers import process
stop = process.stop_on_signals()
print("ready", flush=True)
if sys.argv[1] == "busy":  # compiled code that does not come back to Python for a while
    import hashlib, threading
    threading.Thread(target=lambda: (stop.wait(), print("heard", time.monotonic(), flush=True))).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 8_000_000)
else:
    stop.wait()
    print("heard", time.monotonic(), flush=True)
    time.sleep(60)
"""


def start(kind: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", CODE, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(number):
    process = start("idle")
    process.send_signal(number)
    assert process.stdout.readline().startswith("heard")
    process.send_signal(number)
    assert process.wait(10) == 128 + number


def test_a_second_usr1_or_another_signal_does_not(tmp_path):
    process = start("idle")
    for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_signal_is_heard_while_compiled_code_runs():
    process = start("busy")
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    heard = float(process.stdout.readline().split()[1])
    process.wait(60)
    assert time.monotonic() - heard > 0.1  # long before the compiled code ended


def test_what_plans_leaves_accelerators_and_environment_to_the_workers():
    code = "import os; from launch.workers import process; e = process.plan_on_cpu()\n"
    code += "print(e['JAX_PLATFORMS'], os.environ['JAX_PLATFORMS']); os.environ['ISOFLOP_CACHE'] = 'new'; "
    code += "print(process.plan_on_cpu() == e | {'ISOFLOP_CACHE': 'new'})"
    environment = os.environ | {"JAX_PLATFORMS": "cuda"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.stdout == "cuda cpu\nTrue\n"


def test_an_interrupt_waits_until_libraries_are_loaded():
    # In a process of its own that hears the signal: in this one others may listen for it (stop_on_signals),
    # and have it blocked for this one and its children.
    code = """
import os, signal, time
from launch.workers.process import uninterrupted
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        print("loaded")
except KeyboardInterrupt:
    print("interrupted")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "loaded\ninterrupted\n"


def test_memory_that_is_freed_is_kept_and_not_asked_of_the_system_again():
    code = """
import ctypes, resource
from launch.workers.process import keep_memory

keep_memory()
libc, size = ctypes.CDLL(None), 2**26
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults() > 10 * faults())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "True\n", ran.stderr
