"""A study's folder, runs by the beginning of their ids, site files."""

import tomllib
from pathlib import Path
from typing import Any

from launch.store import Store


def open_study(args: list[str], usage: str) -> Store:
    """The store of the study folder that is the first argument.

    Raises:
      ValueError: no or too many arguments, or no study there.
    """
    if len(args) != 1:
        raise ValueError(f"expected one study folder, got {args}; usage: {usage}")
    store = Store(Path(args[0]))
    if not store.root.is_dir():
        raise ValueError(f"{args[0]}: no study here; `isoflop study NAME --out {args[0]}` makes one")
    return store


def chosen_runs(store: Store, beginnings: list[str]) -> set[str]:
    """The runs whose ids begin so; all runs for [].

    Raises:
      ValueError: no run, or several, begin so.
    """
    known = list(store.plan.runs())
    found = set()
    for beginning in beginnings:
        matches = [run_id for run_id in known if run_id.startswith(beginning)]
        if len(matches) != 1:
            what = "several runs begin so" if matches else "no run begins so"
            raise ValueError(f"{beginning}: {what}; the study has {', '.join((matches or known)[:10])} …")
        found.add(matches[0])
    return found or set(known)


def read_site(path: str) -> dict[str, Any]:
    """The site file.

    Raises:
      ValueError: it is not TOML.
      OSError: it cannot be read.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a TOML file ({error})") from None


def check_pack(pack: str) -> None:
    """Raises ValueError unless it is "auto" or a positive number."""
    if pack != "auto" and not (pack.isdecimal() and int(pack)):
        raise ValueError(f"--pack={pack}; it is auto or the number of runs that train together, at least 1")
