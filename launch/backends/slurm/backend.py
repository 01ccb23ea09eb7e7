"""Studies on Slurm: an array of worker slots, then a small controller job that plans the next stage.

A slot is one job of an array and runs one worker, which takes runs until none is left. The study's folder,
not Slurm, says what is done, so a slot may end, wait or run twice without harm:

    preempted            the worker gets USR1, saves its runs and leaves; Slurm itself starts the slot again
    time nearly over     the worker leaves by itself with exit code 75; the slot asks Slurm to start it again
    killed, node lost    Slurm starts the slot again, or the controller submits a new one

The controller waits for the end of all slots and runs `isoflop submit` again: that finishes the study, or
submits the next stage and the next controller. It stops where nothing has come of the last slots.
"""

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.files import write_atomic
from launch.backends.interface import JobLog, Submission
from launch.backends.slurm.commands import Refused, call, ended, max_array_size, queue, sbatch
from launch.backends.slurm.scripts import controller_script, folder_of_logs, log_of_slot, slots_script
from launch.backends.slurm.site import Site, as_toml, read_site
from launch.monitor.text import n_runs
from launch.store import UNFINISHED, Store
from launch.store.lock import exclusive_lock

POLL_SECONDS = 2.0


def submit(submission: Submission) -> str:
    """Submits the slots that are missing and a controller that waits for all of them.

    Raises:
      ValueError: the site file is wrong, Slurm refuses, or (in a controller) no run has made progress.
    """
    if submission.n_workers == 0:
        raise ValueError("--workers 0: a study on Slurm needs at least 1 worker")
    site = read_site(submission.site)
    if not submission.unfinished:
        return "no runs to submit"
    if submission.dry_run:
        return _submit(submission, site)
    with exclusive_lock(submission.store.root / "slurm.lock"):
        return _submit(submission, site)


def _submit(submission: Submission, site: Site) -> str:
    store, own = submission.store, os.environ.get("SLURM_JOB_ID", "")
    jobs = [job for job in store.jobs() if job["backend"] == "slurm"]
    queued = [job for job in queue(jobs, strict=not submission.dry_run) if job.array != own]
    arrays = {job["id"] for job in jobs if job["kind"] == "workers"}
    slots = [job for job in queued if job.array in arrays]
    controllers = sorted({job.array for job in queued if job.array not in arrays})
    missing = min(submission.n_workers or site.workers, len(submission.unfinished)) - len(slots)
    if missing <= 0 and controllers:
        return f"nothing to submit: {len(slots)} slots queued or running, then controller {controllers[0]}"
    called = next((job for job in jobs if job["id"] == own and job["kind"] == "controller"), None)
    if called and not slots and not _has_progressed(store, called["progress"]):
        raise _stopped(store, own, "no run has made progress since the last slots were submitted")

    folder = folder_of_logs(store)
    files = {
        folder / "slots.sh": slots_script(store, site, submission.pack),
        folder / "controller.sh": controller_script(store, site, submission),
        folder / "site.toml": as_toml(submission.site),
    }
    sizes = _array_sizes(missing, max_array_size())
    commands = [_array_command(size, missing, site.throttle, folder / "slots.sh") for size in sizes]
    after = sorted({job.array for job in slots})
    if submission.dry_run:
        after += [f"ARRAY{k}" for k in range(1, len(sizes) + 1)]
        return _as_submitted(files, [*commands, _controller_command(after, folder / "controller.sh")])
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        write_atomic(path, text, mode=0o600)  # the site's variables may be secret
    try:
        words = _submit_arrays(store, sizes, commands, after)
        words += _submit_controller(submission, after, folder / "controller.sh", controllers)
    except Refused as error:
        raise _stopped(store, own, str(error)) if called else error from None
    return words


def _submit_arrays(store: Store, sizes: list[int], commands: list[list[str]], after: list[str]) -> str:
    """Appends the arrays' ids to `after`; says what was submitted, and what was refused after that."""
    words = ""
    for k, (size, command) in enumerate(zip(sizes, commands)):
        try:
            after.append(sbatch(command))
        except Refused as error:
            if not after:
                raise
            return words + f"Slurm took {sum(sizes[:k])} of {sum(sizes)} slots: {error}\n"
        store.record_job({"backend": "slurm", "id": after[-1], "kind": "workers", "slots": size})
        words += f"array {after[-1]}: {size} slots\n"
    return words


def _submit_controller(submission: Submission, after: list[str], script: Path, previous: list[str]) -> str:
    """Submits the controller that waits for all arrays, then cancels those that wait for fewer of them."""
    progress = _progress(submission.store)
    try:
        controller = sbatch(_controller_command(after, script))
    except Refused as error:
        raise Refused(
            f"slots are submitted ({', '.join(after)}), but not what follows them: {error}; "
            "when they have ended, the same command continues"
        ) from None
    submission.store.record_job(
        {"backend": "slurm", "id": controller, "kind": "controller", "slots": 1, "progress": progress}
    )
    if previous:
        call("scancel", *previous)
    what = "plans the next stage" if submission.more_stages else "ends the study"
    return f"controller {controller}: {what} after {n_runs(len(submission.unfinished))}"


def cancel(jobs: list[dict[str, Any]]) -> str:
    """Cancels what is queued or runs; workers get SIGTERM and leave as they always do.

    Raises:
      ValueError: Slurm refuses.
    """
    kind = {job["id"]: job["kind"] for job in jobs}
    left = {job.array for job in queue(jobs)}
    if not left:
        return "no job of this study is in Slurm's queue"
    ids = sorted(left, key=lambda job_id: (kind[job_id] != "controller", job_id))  # lest it submits more
    call("scancel", *ids)
    return f"cancelled in Slurm: {', '.join(ids)}"


def states(jobs: list[dict[str, Any]]) -> list[str]:
    """What Slurm says of a study's jobs, a line each; of those that ended badly only where it keeps accounts.

    Raises:
      ValueError: Slurm does not answer.
    """
    queued = queue(jobs)
    kind = {job["id"]: job["kind"] for job in jobs}
    lines = []
    for job_id in dict.fromkeys(job.array for job in queued):
        rows = Counter((job.state, job.reason) for job in queued if job.array == job_id)
        said = ", ".join(
            f"{n} {state.lower()}" + (f" ({reason})" if reason not in ("", "None") else "")
            for (state, reason), n in rows.items()
        )
        lines.append(f"{'array' if kind[job_id] == 'workers' else 'controller'} {job_id}: {said}")
    if not queued:
        lines.append("no job of this study is in Slurm's queue")
    bad = {job_id: state for job_id, state in ended(jobs).items() if state not in ("COMPLETED", "REQUEUED")}
    for state, n in Counter(bad.values()).items():
        examples = [job_id for job_id, each in bad.items() if each == state][:3]
        lines.append(f"ended as {state}: {n}, for example {', '.join(examples)}")
    return lines


def logs(store: Store) -> list[Path]:
    """What slots and controllers have printed."""
    return list(folder_of_logs(store).glob("*.log"))


def log_of_process(store: Store, owner: dict[str, Any]) -> JobLog | None:
    """The log of the slot whose worker was this process, and how Slurm says that it ended."""
    log = log_of_slot(store, owner)
    if log is None:
        return None
    slot = log.stem.partition("-")[2]
    state = slot_states([job for job in store.jobs() if job["backend"] == "slurm"]).get(slot)
    return JobLog(log, f"slot {slot}" + (f", which Slurm calls {state}" if state else ""))


def slot_states(jobs: list[dict[str, Any]]) -> dict[str, str]:
    """State of every slot and controller, by id ("12_3"), as far as Slurm, if it is here, remembers."""
    try:
        return ended(jobs) | {job.id: job.state for job in queue(jobs)}
    except ValueError:
        return {}


def _progress(store: Store) -> list[int]:
    """Changes whenever a run is planned, ends, fails, kills another worker or writes a checkpoint."""
    left = [run_id for run_id, state in store.states().items() if state in UNFINISHED]
    steps = dict.fromkeys(left, 0)
    if (store.folder / "runs").exists():
        from experiments.training.checkpoints.checkpoint import (
            newest_step,  # takes a second: the first submission does without
        )

        steps = {run_id: newest_step(store.run_folder(run_id)) for run_id in left}
    deaths = sum(store.deaths(run_id, step) for run_id, step in steps.items())
    attempts = len(list((store.root / "failed").glob("*")))
    return [len(store.plan.runs()), len(left), attempts, deaths, sum(steps.values())]


def _has_progressed(store: Store, before: list[int]) -> bool:
    """Whether anything has come of the last slots. Waits, `ttl` at most, for the leases of killed workers to
    end, as nobody can go on with their runs until then, and for news that a network file system holds up."""
    deadline = time.monotonic() + store.ttl
    while True:
        held = {"claimed", "running"} & set(store.states().values())
        news = _progress(store) != before
        if (news and not held) or time.monotonic() > deadline:
            return news
        time.sleep(POLL_SECONDS)


def _stopped(store: Store, controller: str, reason: str) -> Refused:
    """Notes for `isoflop status` that a controller gave up, and returns the error to raise."""
    store.record_job({"backend": "slurm", "id": controller, "kind": "stopped", "slots": 0, "reason": reason})
    again = f"see `isoflop logs {store.argument}`; `isoflop submit` starts again"
    return Refused(f"{store.folder}: stopped: {reason}; {again}")


# ---- arrays and commands -------------------------------------------------------------------------------


def _array_sizes(n: int, largest: int) -> list[int]:
    """Sizes of the arrays that hold `n` slots; the index of a slot, and so the size, is capped."""
    return [min(largest, n - first) for first in range(0, max(n, 0), largest)]


def _array_command(size: int, of: int, throttle: int, script: Path) -> list[str]:
    """`throttle` is the most slots of all `of` that run together; each array gets its part."""
    share = max(1, throttle * size // of) if throttle else size
    limit = f"%{share}" if share < size else ""
    return ["sbatch", "--parsable", f"--array=0-{size - 1}{limit}", str(script)]


def _controller_command(after: Iterable[str], script: Path) -> list[str]:
    return ["sbatch", "--parsable", f"--dependency=afterany:{':'.join(after)}", str(script)]


def _as_submitted(files: dict[Path, str], commands: list[list[str]]) -> str:
    """The files and the commands, as text."""
    texts = [f"# {path}\n{text.rstrip()}\n" for path, text in files.items()]
    return "\n".join([*texts, "# commands, in this order", *map(shlex.join, commands)])
