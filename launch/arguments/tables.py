"""Columns of a table of runs, and where output goes."""

from pathlib import Path


def parse_columns(pairs: list[str], flag: str = "columns") -> dict[str, str]:
    """["n_params=N"] -> {"n_params": "N"}."""
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ValueError(f"--{flag} {pair}: expected NAME=VALUE, for example n_params=N")
        columns[ours.strip()] = theirs.strip()
    return columns


def check_out(out: str | None) -> None:
    """Refuses, before any work, a file that could not be written."""
    if out and (Path(out).is_dir() or not Path(out).absolute().parent.is_dir()):
        raise ValueError(f"--out {out}: expected a file name in a folder that exists")
