"""Which hosts join, by what the environment tells; tests/launch/workers/test_multihost_worker.py has them
train."""

import os
import socket
import subprocess
import sys

import pytest

from launch.workers.hosts import how_to_join

SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
}
OURS = {"ISOFLOP_COORDINATOR": "10.0.0.1:1234", "ISOFLOP_HOSTS": "4", "ISOFLOP_HOST": "3"}


def test_a_host_alone_joins_nobody():
    assert how_to_join({}) is None
    assert how_to_join(SRUN | {"SLURM_NTASKS": "1"}) is None
    assert how_to_join({"TPU_WORKER_HOSTNAMES": "localhost"}) is None


def test_explicit_hosts_win_over_the_scheduler():
    assert how_to_join(SRUN | OURS) == {
        "coordinator_address": "10.0.0.1:1234",
        "num_processes": 4,
        "process_id": 3,
        "cluster_detection_method": "deactivate",
    }


def test_hosts_of_a_slice_are_left_to_jax():
    assert how_to_join({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}) == {}


@pytest.mark.parametrize(
    ("task", "devices"),
    [
        ({}, None),  # no GPUs
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [0, 1, 2, 3]),  # one task a node has them all
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_TASKS_PER_NODE": "2"}, [2, 3]),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x4)"}, [0]),
        (
            {
                "CUDA_VISIBLE_DEVICES": "0,1",
                "SLURM_GPUS_PER_TASK": "2",
                "SLURM_STEP_TASKS_PER_NODE": "2,1",
            },
            [0, 1],
        ),
    ],
)
def test_a_task_of_srun_has_the_gpus_it_was_given(task, devices):
    local = "1" if task.get("SLURM_STEP_TASKS_PER_NODE", "1")[0] == "2" else "0"
    arguments = how_to_join(SRUN | {"SLURM_LOCALID": local} | task)
    assert arguments == {"cluster_detection_method": "slurm", "local_device_ids": devices}


def test_steps_of_one_job_have_ports_of_their_own():
    ports = set()
    for step in "01":
        env = SRUN | {"SLURM_STEP_ID": step}
        how_to_join(env)
        ports.add(env["JAX_COORDINATOR_PORT"])
    assert len(ports) == 2
    env = SRUN | {"JAX_COORDINATOR_PORT": "5"}
    how_to_join(env)
    assert env["JAX_COORDINATOR_PORT"] == "5"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ISOFLOP_COORDINATOR": "a:1"}, "go together"),
        (OURS | {"ISOFLOP_HOST": "one"}, "two numbers"),
        ({"SLURM_NNODES": "2"}, "under srun"),
    ],
)
def test_contradictory_environments_are_refused(env, words):
    with pytest.raises(ValueError, match=words):
        how_to_join(env)


WATCHING = """
import os, time
from launch.workers import hosts
hosts.BEAT_SECONDS = 0.0
each = hosts.join()
with each.watched(lambda: os._exit(3)):
    time.sleep(0.3)
    assert each.barrier()
"""


def test_hosts_that_watch_each_other_end_in_peace():
    """At its end a process would abort on a thread inside of jax's service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    common = os.environ | {"ISOFLOP_COORDINATOR": address, "ISOFLOP_HOSTS": "2", "JAX_PLATFORMS": "cpu"}
    pair = [
        subprocess.Popen([sys.executable, "-c", WATCHING], env=common | {"ISOFLOP_HOST": str(index)})
        for index in range(2)
    ]
    assert [host.wait(120) for host in pair] == [0, 0]
