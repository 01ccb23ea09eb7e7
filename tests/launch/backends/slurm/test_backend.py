"""What is submitted to Slurm, when, and what is made of its answers; its commands are played by a script.

In tests/launch/backends/slurm/test_scripts.py a real Slurm runs whole studies.
"""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from launch.backends.interface import Submission
from launch.backends.slurm import backend as slurm
from launch.backends.slurm.scripts import slots_script
from launch.backends.slurm.site import read_site
from launch.commands.studies.status import as_lines
from launch.monitor.progress import read_progress
from launch.store import PlannedRun, Store
from tests.launch.backends.slurm.played_slurm import calls, play


@pytest.fixture
def played(tmp_path, monkeypatch) -> Path:
    """The folder of the played commands."""
    return play(tmp_path / "bin", monkeypatch)


@pytest.fixture
def submission(tmp_path) -> Submission:
    """Five unfinished runs of a study."""
    store = Store(tmp_path / "a study 100%")
    store.create()
    config = {"model": {"d_model": 16}, "optimizer": {"lr": 0.01}, "batch_tokens": 10, "seed": 0}
    store.plan.add([PlannedRun(f"{k:012x}", "grid", "s", 256, 100, 1e9, config) for k in range(5)])
    runs = list(store.plan.runs().values())
    site = {"slurm": {"partition": "gpu", "gpus": 2, "time": "02:00:00", "setup": ["module load cuda"]}}
    return Submission(store, runs, True, None, "auto", site, False)


def with_site(submission: Submission, **values) -> Submission:
    return replace(submission, site={"slurm": submission.site["slurm"] | values})


def logs_of(submission: Submission) -> Path:
    return submission.store.root / "slurm"


def test_an_array_of_slots_then_a_controller_that_waits_for_it(played, submission):
    words = slurm.submit(submission)
    folder = logs_of(submission)
    assert calls(played, "sbatch") == [
        f"--parsable --array=0-4 {folder}/slots.sh",
        f"--parsable --dependency=afterany:1 {folder}/controller.sh",
    ]
    assert words == "array 1: 5 slots\ncontroller 2: plans the next stage after 5 runs"
    jobs = [(job["id"], job["kind"], job["slots"]) for job in submission.store.jobs()]
    assert jobs == [("1", "workers", 5), ("2", "controller", 1)]


def test_the_scripts_say_what_the_site_file_says(played, submission):
    slurm.submit(
        with_site(
            submission, container="apptainer exec --nv x.sif", env={"A": "b c"}, options=["--exclusive"]
        )
    )
    folder = logs_of(submission)
    slots = (folder / "slots.sh").read_text()
    for line in (
        f'#SBATCH "--output={str(folder).replace("%", "%%")}/slot-%A_%a.log"',
        '#SBATCH "--job-name=isoflop-a study 100%-slots"',
        "#SBATCH --partition=gpu",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --time=02:00:00",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=B:USR1@60",
        "#SBATCH --exclusive",
        "module load cuda",
        "export A='b c'",
    ):
        assert line in slots.splitlines()
    study = f"'{submission.store.folder}'"
    assert (
        f"apptainer exec --nv x.sif python3 -P -m launch.workers.worker {study} --pack auto --seconds"
        in slots
    )
    controller = (folder / "controller.sh").read_text()
    assert "gpus" not in controller and "apptainer" not in controller
    submit = f"submit {study} --on slurm --pack auto --site '{folder}/site.toml'"
    assert f"exec {sys.executable} -P -m launch.cli {submit}" in controller
    for script in ("slots.sh", "controller.sh"):
        assert subprocess.run(["bash", "-n", str(folder / script)]).returncode == 0


def test_the_controller_submits_with_the_same_wishes(played, submission):
    submission = with_site(replace(submission, n_workers=3, pack="4"), workers=2)
    slurm.submit(submission)
    assert calls(played, "sbatch")[0].startswith("--parsable --array=0-2 ")
    controller = (logs_of(submission) / "controller.sh").read_text()
    assert "--pack 4 --workers 3 --site" in controller
    assert tomllib.loads((logs_of(submission) / "site.toml").read_text()) == submission.site


def test_a_dry_run_shows_all_and_touches_nothing(played, submission):
    before = sorted(submission.store.folder.rglob("*"))
    shown = slurm.submit(replace(submission, dry_run=True))
    assert calls(played, "sbatch") == [] and sorted(submission.store.folder.rglob("*")) == before
    slurm.submit(submission)
    for name in ("slots.sh", "controller.sh", "site.toml"):
        assert (logs_of(submission) / name).read_text() in shown
    ran = [line.replace(f"{logs_of(submission)}/", "") for line in calls(played, "sbatch")]
    assert ran == ["--parsable --array=0-4 slots.sh", "--parsable --dependency=afterany:1 controller.sh"]
    assert shown.splitlines()[-2:] == [
        f"sbatch --parsable --array=0-4 '{logs_of(submission)}/slots.sh'",
        f"sbatch --parsable --dependency=afterany:ARRAY1 '{logs_of(submission)}/controller.sh'",
    ]


def test_a_dry_run_needs_no_slurm(tmp_path, submission, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch --parsable --array=0-4" in slurm.submit(replace(submission, dry_run=True))
    with pytest.raises(ValueError, match=r"^sbatch is not installed here; run this where Slurm's "):
        slurm.submit(submission)


def test_submitting_again_submits_what_is_missing_and_a_controller_that_waits_for_all(played, submission):
    slurm.submit(submission)
    (played / "squeue.out").write_text("1_0|RUNNING|None\n1_1|PENDING|Resources\n2|PENDING|Dependency\n")
    two = replace(submission, unfinished=submission.unfinished[:2])
    assert slurm.submit(two) == "nothing to submit: 2 slots queued or running, then controller 2"
    assert len(calls(played, "sbatch")) == 2 and calls(played, "squeue")[-1].startswith("-h -r -j 1,2 ")
    slurm.submit(submission)
    assert [line.split()[1] for line in calls(played, "sbatch")[2:]] == [
        "--array=0-2",
        "--dependency=afterany:1:3",
    ]
    assert calls(played, "scancel") == ["2"]


def test_nothing_is_submitted_again_while_slurm_does_not_say_what_is_queued(played, submission):
    slurm.submit(submission)
    (played / "squeue.error").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    with pytest.raises(
        ValueError, match=r"^squeue: slurm_load_jobs error: Unable to contact slurm controller$"
    ):
        slurm.submit(submission)
    assert len(calls(played, "sbatch")) == 2


def test_arrays_are_split_where_the_cluster_caps_the_index(played, submission):
    (played / "scontrol.out").write_text("MaxArraySize            = 2\nMaxJobCount = 9\n")
    slurm.submit(with_site(submission, throttle=3))
    options = [line.split()[1] for line in calls(played, "sbatch")]
    assert options == ["--array=0-1%1", "--array=0-1%1", "--array=0-0", "--dependency=afterany:1:2:3"]


@pytest.mark.parametrize("throttle, option", [(0, "0-4"), (2, "0-4%2"), (5, "0-4"), (9, "0-4")])
def test_a_throttle_below_the_number_of_slots_counts(played, submission, throttle, option):
    slurm.submit(with_site(submission, throttle=throttle))
    assert calls(played, "sbatch")[0].split()[1] == f"--array={option}"


def test_a_refusal_comes_in_slurms_words(played, submission):
    (played / "refuse.1").write_text(
        "sbatch: error: invalid partition specified: gpu\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    )
    with pytest.raises(ValueError) as error:
        slurm.submit(submission)
    assert str(error.value) == (
        "sbatch: invalid partition specified: gpu; "
        "Batch job submission failed: Invalid partition name specified"
    )
    assert submission.store.jobs() == []


def test_when_slurm_takes_some_slots_only_they_are_used(played, submission):
    (played / "scontrol.out").write_text("MaxArraySize = 2\n")
    (played / "refuse.2").write_text("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
    words = slurm.submit(submission).splitlines()
    assert words[:2] == ["array 1: 2 slots", "Slurm took 2 of 5 slots: sbatch: QOSMaxSubmitJobPerUserLimit"]
    assert calls(played, "sbatch")[-1].split()[1] == "--dependency=afterany:1"


def test_when_slurm_takes_no_controller_it_is_said_what_to_do(played, submission):
    (played / "refuse.2").write_text("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
    with pytest.raises(ValueError, match=r"slots are submitted \(1\), but not what follows them: sbatch: "):
        slurm.submit(submission)
    (played / "squeue.out").write_text("".join(f"1_{k}|RUNNING|None\n" for k in range(5)))
    assert slurm.submit(submission).startswith("controller 2: ")
    assert calls(played, "sbatch")[-1].split()[1] == "--dependency=afterany:1"


@pytest.fixture
def as_controller(monkeypatch):
    """Has this process be the controller that was submitted last; its patience is short."""

    def be(submission: Submission) -> Submission:
        monkeypatch.setenv("SLURM_JOB_ID", submission.store.jobs()[-1]["id"])
        monkeypatch.setattr(slurm, "POLL_SECONDS", 0.01)
        return replace(submission, store=replace(submission.store, ttl=0.1))

    return be


def test_the_controller_goes_on_while_anything_comes_of_it(played, submission, as_controller):
    slurm.submit(submission)
    (played / "squeue.out").write_text("2|RUNNING|None\n")  # itself
    store, runs = submission.store, [run.run_id for run in submission.unfinished]
    (store.run_folder(runs[0]) / "checkpoints" / "20").mkdir(parents=True)
    assert slurm.submit(as_controller(submission)).startswith("array 3: 5 slots")
    assert calls(played, "scancel") == []  # not itself
    (store.root / "failed" / f"{runs[0]}.1").write_text("{}")
    assert slurm.submit(as_controller(submission)).startswith("array 5: 5 slots")
    (store.root / "lease" / f"{runs[1]}.1").write_text(json.dumps({"host": "other", "pid": 1, "start": 1}))
    assert slurm.submit(as_controller(submission)).startswith("array 7: 5 slots")  # a worker died over it
    (store.root / "done" / runs[2]).write_text("{}")
    assert slurm.submit(as_controller(submission)).startswith("array 9: ")
    with pytest.raises(ValueError, match="no run has made progress"):
        slurm.submit(as_controller(submission))


def test_the_controller_stops_where_nothing_has_come_of_it_and_status_says_so(
    played, submission, as_controller, monkeypatch
):
    slurm.submit(submission)
    with pytest.raises(ValueError, match="stopped: no run has made progress since the last slots"):
        slurm.submit(as_controller(submission))
    assert len(calls(played, "sbatch")) == 2
    said = "controller 2 stopped: no run has made progress since the last slots were submitted"
    assert f"slurm {said}" in as_lines(submission.store, read_progress(submission.store))
    monkeypatch.delenv("SLURM_JOB_ID")
    assert slurm.submit(submission).startswith("array 3: 5 slots")  # a person may try again
    assert not any("stopped" in line for line in as_lines(submission.store, read_progress(submission.store)))


def test_the_controller_waits_for_news_and_for_leases_of_killed_workers(
    played, submission, as_controller, monkeypatch
):
    slurm.submit(submission)
    store, first = submission.store, submission.unfinished[0].run_id
    lease = store.root / "lease" / f"{first}.1"
    lease.write_text(json.dumps({"host": "other", "pid": 1, "start": 1}))
    happens = iter(
        [lambda: (store.root / "failed" / f"{first}.1").write_text("{}"), lambda: os.utime(lease, (9, 9))]
    )
    submission = as_controller(replace(submission, store=replace(store, ttl=60.0)))
    submission.store.ttl = 60.0
    monkeypatch.setattr(slurm.time, "sleep", lambda _: next(happens)())
    assert slurm.submit(submission).startswith("array 3: 5 slots")
    assert next(happens, None) is None


def test_a_refused_controller_notes_why(played, submission, as_controller):
    slurm.submit(submission)
    (played / "refuse.3").write_text("sbatch: error: Batch job submission failed: Invalid account\n")
    (submission.store.root / "failed" / "x.1").write_text("{}")
    with pytest.raises(ValueError, match="Invalid account"):
        slurm.submit(as_controller(submission))
    said = as_lines(submission.store, read_progress(submission.store))
    assert any("controller 2 stopped" in line and "Invalid account" in line for line in said)


def test_cancel_cancels_what_is_left_the_controller_first(played, submission):
    slurm.submit(submission)
    (played / "squeue.out").write_text("1_3|RUNNING|None\n1_4|RUNNING|None\n2|PENDING|Dependency\n")
    assert slurm.cancel(submission.store.jobs()) == "cancelled in Slurm: 2, 1"
    assert calls(played, "scancel") == ["2 1"]
    (played / "squeue.out").write_text("")
    assert slurm.cancel(submission.store.jobs()) == "no job of this study is in Slurm's queue"


def test_states_are_reported_by_array_from_one_call_each(played, submission):
    slurm.submit(submission)
    (played / "squeue.out").write_text(
        "1_0|RUNNING|None\n1_1|RUNNING|None\n1_4|PENDING|JobArrayTaskLimit\n2|PENDING|Dependency\n"
    )
    (played / "sacct.out").write_text("1_2|OUT_OF_MEMORY\n1_3|CANCELLED by 0\n1_0|RUNNING\n")
    before = len(calls(played, "squeue"))
    assert slurm.states(submission.store.jobs()) == [
        "array 1: 2 running, 1 pending (JobArrayTaskLimit)",
        "controller 2: 1 pending (Dependency)",
        "ended as OUT_OF_MEMORY: 1, for example 1_2",
        "ended as CANCELLED: 1, for example 1_3",
    ]
    assert len(calls(played, "squeue")) - before == 1 and len(calls(played, "sacct")) == 1
    assert slurm.slot_states(submission.store.jobs())["1_2"] == "OUT_OF_MEMORY"


def test_without_accounts_only_the_queue_is_reported(played, submission):
    slurm.submit(submission)
    (played / "sacct.error").write_text("Slurm accounting storage is disabled\n")
    (played / "squeue.out").write_text("2|PENDING|Dependency\n")
    assert slurm.states(submission.store.jobs()) == ["controller 2: 1 pending (Dependency)"]
    assert slurm.slot_states(submission.store.jobs()) == {"2": "PENDING"}


def test_what_cannot_be_submitted(played, submission):
    with pytest.raises(ValueError, match="needs at least 1 worker"):
        slurm.submit(replace(submission, n_workers=0))
    assert slurm.submit(replace(submission, unfinished=[])) == "no runs to submit"
    assert calls(played, "sbatch") == []


def test_scripts_may_be_read_by_their_owner_alone(played, submission):
    """The site's variables may be secret."""
    slurm.submit(with_site(submission, env={"WANDB_API_KEY": "secret"}))
    for name in ("slots.sh", "controller.sh", "site.toml"):
        assert (logs_of(submission) / name).stat().st_mode & 0o077 == 0


def test_no_value_makes_another_line_of_the_script(played, submission):
    for site in ({"options": ["--exclusive\ntouch /tmp/x"]}, {"controller": {"constraint": "a\rb"}}):
        with pytest.raises(ValueError, match=r"^slurm: .*line break"):
            slurm.submit(with_site(submission, **site))
    assert calls(played, "sbatch") == []


@pytest.mark.parametrize("number, requeued", [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_slot_near_its_end_is_started_again_for_want_of_time_and_not_when_cancelled(
    tmp_path, submission, number, requeued
):
    """With limits of two minutes every moment is near the end."""
    worker, scontrol = tmp_path / "worker", tmp_path / "scontrol"
    worker.write_text("#!/bin/bash\ntrap 'exit 0' USR1\necho up\nsleep 20 >&- & wait\n")
    scontrol.write_text(f"#!/bin/bash\necho $@ > {tmp_path}/called\n")
    for script in (worker, scontrol):
        script.chmod(0o755)
    (tmp_path / "slots.sh").write_text(
        slots_script(submission.store, read_site({"slurm": {"python": str(worker)}}), "auto")
    )
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_JOB_END_TIME": str(int(time.time()) + 100),
    }
    slot = subprocess.Popen(
        ["bash", str(tmp_path / "slots.sh")], env=environment, stdout=subprocess.PIPE, text=True
    )
    said = slot.stdout.readline() + slot.stdout.readline()  # the worker, and the slot that waits for it
    assert "up" in said and "is process" in said
    slot.send_signal(number)
    slot.communicate(timeout=20)
    assert (tmp_path / "called").exists() == requeued
    assert not requeued or (tmp_path / "called").read_text() == "requeue 7_1\n"
