"""A study's folder, runs by the beginning of their ids, site files."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.files import read_json
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


@dataclass(frozen=True)
class NamedRun:
    """A run that somebody named: its id, its configuration as JSON, its result ({} before it has one)."""

    run_id: str
    config: dict[str, Any]
    result: dict[str, Any]


def named_runs(named: list[str]) -> list[NamedRun]:
    """These runs: the folder of each, its config.json, or DIR/ID with the beginning of its id, planned or
    done; or the folder of a study and beginnings of ids.

    Raises:
      ValueError: one of them is no run.
    """
    if named and (Path(named[0]) / "store").is_dir():
        return [_of_study(Store(Path(named[0])), beginning) for beginning in named[1:]]
    return [_of_path(Path(each)) for each in named]


def _of_study(store: Store, beginning: str) -> NamedRun:
    (run_id,) = chosen_runs(store, [beginning])
    return NamedRun(run_id, store.plan.runs()[run_id].config, store.results().get(run_id, {}))


def _of_path(path: Path) -> NamedRun:
    study = Store(path.parent.parent if path.parent.name == "runs" else path.parent)
    if study.root.is_dir() and not path.is_file():
        return _of_study(study, path.name)
    config = path if path.is_file() else path / "config.json"
    if not config.is_file():
        raise ValueError(
            f"{path}: no run here; give its folder, its config.json, or a study's folder and its id"
        )
    result = config.parent / "result.json"
    return NamedRun(config.parent.name, read_json(config), read_json(result) if result.exists() else {})


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
