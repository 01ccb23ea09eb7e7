"""The two scripts of a study on Slurm, a slot's and the controller's, and the logs that their jobs leave."""

import shlex
import sys
from pathlib import Path
from typing import Any

from experiments.files import user_code
from launch.backends.interface import Submission
from launch.backends.slurm.site import Site
from launch.store import Store, study_file

SIGNAL_SECONDS = 60  # before the time limit Slurm sends USR1, up to a minute earlier: so often it looks
MARGIN_SECONDS = 120  # before the time limit the worker leaves by itself, ahead of that signal

# What follows the directives. In braces: setup, worker, margin.
SLOT = r"""
# One slot: a worker that takes runs of the study until none is left or its time is short.
{setup}
slot=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
now=$(date +%s)
end=${{SLURM_JOB_END_TIME:-$(( now + 31536000 ))}}  # Slurm before 22.05 does not tell
margin=$(( (end - now) / 4 < {margin} ? (end - now) / 4 : {margin} ))
{worker} --seconds "$(( end - now - margin ))" &
worker=$!
# Slurm's USR1 reaches this shell alone, its TERM the worker too; from here the worker hears once of either.
leave() {{ trap '' USR1 TERM; signal=$1; leaving=$(date +%s); kill -USR1 "$worker" 2>/dev/null; }}
trap 'leave USR1' USR1
trap 'leave TERM' TERM
echo "$(date '+%F %T') slot $slot on $(hostname) is process $worker, restarts: ${{SLURM_RESTART_COUNT:-0}}"
wait "$worker"; code=$?
if [ -n "$signal" ]; then wait "$worker"; code=$?; fi  # the first wait ended with the signal
# Only time is ours to answer: a cancelled slot, which gets TERM, is not wanted, and a preempted one is
# started again by Slurm itself, by us too it were twice.
if [ "$signal" = USR1 ] && [ "$code" = 0 ] && [ "$(( end - leaving ))" -le {margin} ]; then code=75; fi
echo "$(date '+%F %T') slot $slot: the worker left with exit code $code"
# Not by $SLURM_JOB_ID: that of one slot is the id of the whole array.
if [ "$code" = 75 ]; then scontrol requeue "$slot" && exit 0; fi
exit "$code"
"""
CONTROLLER = """
# Finishes the study, or submits its next stage and the next controller.
{setup}
exec {submit}
"""


def folder_of_logs(store: Store) -> Path:
    """Where scripts and what the scheduler's jobs print are kept."""
    return store.root / "slurm"


def log_of_slot(store: Store, owner: dict[str, Any]) -> Path | None:
    """The log of the slot whose worker was the process {"host", "pid"} of a lease, as the slot has said."""
    said = f" on {owner['host'].partition('/')[0]} is process {owner['pid']},"
    logs = [
        log for log in folder_of_logs(store).glob("slot-*.log") if said in log.read_text(errors="replace")
    ]
    return max(logs, key=lambda log: log.stat().st_mtime, default=None)


def slots_script(store: Store, site: Site, pack: str) -> str:
    """The script of an array of slots."""
    options = [
        *_place(site, store, "slots", "slot-%A_%a.log"),
        *(f"--{name}={value}" for name in ("gres", "time") if (value := getattr(site, name))),
        *([f"--gpus-per-node={site.gpus}"] if site.gpus else []),
        f"--cpus-per-task={site.cpus}",
        "--requeue",
        f"--signal=B:USR1@{SIGNAL_SECONDS}",
        *site.options,
    ]
    python = site.python or ("python3" if site.container else sys.executable)
    words = [python, "-P", "-m", "launch.workers.worker", str(store.folder), "--pack", pack]
    command = shlex.join([*words, *study_file.worker_code(store, store.folder)])
    worker = f"{site.container} {command}" if site.container else command
    return _directives(options) + SLOT.format(setup=_setup(site), worker=worker, margin=MARGIN_SECONDS)


def controller_script(store: Store, site: Site, submission: Submission) -> str:
    """The script of the job that runs `isoflop submit` when the slots have ended; outside of any container,
    because that has no Slurm commands."""
    options = [*_place(site, store, "next", "controller-%j.log"), f"--time={site.controller.time}"]
    python = sys.executable if site.container or not site.python else site.python
    submit = [python, "-P", "-m", "launch.cli", "submit", str(store.folder), "--on", "slurm"]
    submit += ["--pack", submission.pack, *user_code.flags(store.folder)]
    submit += ["--workers", str(submission.n_workers)] if submission.n_workers else []
    submit += ["--site", str(folder_of_logs(store) / "site.toml")] if submission.site else []
    return _directives(options) + CONTROLLER.format(setup=_setup(site), submit=shlex.join(submit))


def _place(site: Site, store: Store, role: str, log: str) -> list[str]:
    """What both kinds of job have: name, log, and where they run."""
    own = site.controller if role == "next" else site
    values = {name: getattr(own, name) or getattr(site, name) for name in ("partition", "account", "qos")}
    values |= {name: getattr(own, name) for name in ("constraint", "mem")}
    return [
        f"--job-name=isoflop-{store.folder.name}-{role}",
        f"--output={str(folder_of_logs(store)).replace('%', '%%')}/{log}",
        "--open-mode=append",
        "--nodes=1",
        "--ntasks=1",
        *(f"--{name}={value}" for name, value in values.items() if value),
    ]


def _directives(options: list[str]) -> str:
    for option in options:
        if not option.isprintable():
            raise ValueError(
                f"slurm: {option!r} has a line break or a control character, and would be more lines of the "
                "script than one; rename the study's folder, or mend the site file"
            )
    return "#!/bin/bash\n" + "".join(f"#SBATCH {_quoted(option)}\n" for option in options)


def _quoted(option: str) -> str:
    """As sbatch reads it in a script: in double quotes where it has blanks or quotes."""
    plain = not any(character in option for character in " \t\"'\\#")
    return option if plain else '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _setup(site: Site) -> str:
    """The site's own lines, and its variables after them."""
    return "\n".join([*site.setup, *(f"export {name}={shlex.quote(value)}" for name, value in site.env)])
