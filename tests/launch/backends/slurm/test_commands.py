"""Slurm's answers parsed, its refusals kept in its own words; its commands are played by a script."""

from pathlib import Path

import pytest

from launch.backends.slurm.commands import (
    MAX_ARRAY_SIZE,
    Job,
    Refused,
    call,
    ended,
    max_array_size,
    queue,
    sbatch,
)
from tests.launch.backends.slurm.played_slurm import COMMAND, calls, play

JOBS = [{"id": job_id, "kind": "workers"} for job_id in ("1", "2", "1")]


@pytest.fixture
def played(tmp_path, monkeypatch) -> Path:
    return play(tmp_path / "bin", monkeypatch)


def test_the_queue_is_reported_a_slot_a_line_from_one_question(played):
    (played / "squeue.out").write_text("1_0|RUNNING|None\n1_3|PENDING|(Nodes|down)\n2|PENDING|Dependency\n")
    found = queue(JOBS)
    assert found[1:] == [Job("1_3", "PENDING", "(Nodes|down)"), Job("2", "PENDING", "Dependency")]
    assert [job.array for job in found] == ["1", "1", "2"]
    assert calls(played, "squeue") == ["-h -r -j 1,2 -o %i|%T|%r"]


def test_without_jobs_slurm_is_not_asked(played):
    assert queue([]) == [] and ended([]) == {}
    assert calls(played, "squeue") == calls(played, "sacct") == []


def test_a_forgotten_job_counts_as_ended_but_silence_does_not(played):
    (played / "squeue.error").write_text("slurm_load_jobs error: Invalid job id specified\n")
    assert queue(JOBS) == []
    (played / "squeue.error").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    with pytest.raises(Refused, match=r"^squeue: slurm_load_jobs error: Unable to contact slurm controller$"):
        queue(JOBS)
    assert queue(JOBS, strict=False) == []


def test_what_ended_is_reported_by_its_state_alone(played):
    (played / "sacct.out").write_text(
        "1_0|RUNNING\n1_1|COMPLETED\n1_2|CANCELLED by 0\n2|PENDING\n1_3|\n1_4|SUSPENDED\n"
    )
    assert ended(JOBS) == {"1_1": "COMPLETED", "1_2": "CANCELLED"}
    assert calls(played, "sacct")[0].split("-j ")[1].split()[0] == "1,2"
    (played / "sacct.error").write_text("Slurm accounting storage is disabled\n")
    assert ended(JOBS) == {}


def test_an_id_comes_without_its_cluster(played):
    assert [sbatch(["sbatch", "--parsable", "x.sh"]) for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize(
    "said, size",
    [
        ("Configuration data\nMaxArraySize            = 2\nMaxJobCount = 9\n", 2),
        ("SlurmctldParameters     = NotMaxArraySize = 7\n", MAX_ARRAY_SIZE),
        ("", MAX_ARRAY_SIZE),
    ],
)
def test_the_largest_array_is_the_cluster_s_or_slurm_s_own_default(played, said, size):
    (played / "scontrol.out").write_text(said)
    assert max_array_size() == size
    (played / "scontrol.error").write_text("Unable to contact\n")
    assert max_array_size() == MAX_ARRAY_SIZE


@pytest.mark.parametrize(
    "error, words",
    [
        (
            "sbatch: error: invalid partition: gpu\nsbatch: error: failed\n",
            "sbatch: invalid partition: gpu; failed",
        ),
        ("\nerror: no account\n\n", "sbatch: no account"),
        ("", "sbatch: exit code 1"),
    ],
)
def test_a_refusal_is_in_slurms_words(played, error, words):
    (played / "refuse.1").write_text(error)
    with pytest.raises(Refused) as refused:
        sbatch(["sbatch", "x.sh"])
    assert str(refused.value) == words


def test_a_machine_without_slurm_is_reported_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match=r"^squeue is not installed here; run this where Slurm's commands are$"):
        queue(JOBS)
    assert ended(JOBS) == {} and max_array_size() == MAX_ARRAY_SIZE


def test_a_jobs_own_settings_are_no_wishes(played, monkeypatch):
    (played / "scontrol").write_text(COMMAND + "env\n")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    environment = call("scontrol", "show").splitlines()
    assert [line for line in environment if line.startswith("SLURM_")] == ["SLURM_CONF=/etc/slurm.conf"]
    assert any(line.startswith(f"PATH={played}:") for line in environment)
