"""Slurm's commands as scripts that answer from files and note how they were called."""

from pathlib import Path

# Answers with the file of its own name if there is one, notes how it was called; sbatch gives ids 1, 2, …
COMMAND = """#!/bin/bash
cd "$(dirname "$0")"
name=$(basename "$0")
echo "$name $*" >> calls
if [ "$name" = sbatch ]; then
    n=$(($(cat n) + 1))
    if [ -e "refuse.$n" ]; then cat "refuse.$n" >&2; rm "refuse.$n"; exit 1; fi
    echo $n > n; echo "$n;cluster"
elif [ -e "$name.error" ]; then cat "$name.error" >&2; exit 1
elif [ -e "$name.out" ]; then cat "$name.out"
fi
"""


def play(folder: Path, monkeypatch) -> Path:
    """Puts the commands into the folder, which is made, and first in the path."""
    folder.mkdir()
    (folder / "n").write_text("0")
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
        (folder / name).write_text(COMMAND)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return folder


def calls(played: Path, name: str) -> list[str]:
    """Arguments of the calls of one command, oldest first."""
    lines = (played / "calls").read_text().splitlines() if (played / "calls").exists() else []
    return [line.partition(" ")[2] for line in lines if line.split()[0] == name]
