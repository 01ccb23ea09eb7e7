"""What a study's folder says of itself: study.json names the study, its settings and the versions used."""

import contextlib
import importlib.metadata
import json
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.files import GRID_SUFFIXES, read_json, user_code, write_atomic
from launch.store.store import Store

LIBRARIES = ("isoflop", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pandas")


def read(store: Store) -> dict[str, Any] | None:
    """{"name", "file", "overrides", "code", "cwd", "seed", "versions"}; None in a folder without a study."""
    path = store.folder / "study.json"
    return read_json(path) if path.exists() else None


def write(
    store: Store, name: str, overrides: list[str], settings: Any, files: Mapping[str, str] | None = None
) -> None:
    """Describes the study in its folder, and keeps the user's own code that it is made with; nothing happens
    where that is as it should be.

    Of a user's own file the name is its file name, and `file` says where it was last; a grid is kept whole.
    `cwd` is the folder that relative paths in the settings, such as data.path, start from.

    Args:
      store: the study's folder.
      name: of the study, or its FILE.py or grid file.
      overrides: FIELD=VALUE each, as on the command line.
      settings: of the study; the seed is written down.
      files: what the folder keeps of its definition, by name.
    """
    user_code.keep(store.folder)
    there = read(store)
    for kept, text in (files or {}).items():
        path = store.folder / kept
        if _text(path) != text:
            write_atomic(path, text)
    file = str(Path(name).resolve()) if name.endswith(".py") else ""
    now = {"name": short_name(name), "file": file, "overrides": overrides}
    now |= {"code": [each.copy for each in user_code.RUN]} if user_code.RUN else {}
    if there is None or now != {key: there.get(key) for key in now}:
        rest = {"cwd": str(Path.cwd()), "seed": getattr(settings, "seed", None), "versions": _versions()}
        write_atomic(store.folder / "study.json", json.dumps(now | rest, indent=1) + "\n")
    if there and is_grid(there["name"]) and kept_grid(store, there["name"]) != kept_grid(store, name):
        kept_grid(store, there["name"]).unlink(missing_ok=True)


def where_it_was_planned(store: Store) -> contextlib.AbstractContextManager[None]:
    """Goes to the folder from which the study was planned, if it is there, so that its relative paths are
    right wherever one continues it from."""
    folder = (read(store) or {}).get("cwd")
    return contextlib.chdir(folder) if folder and Path(folder).is_dir() else contextlib.nullcontext()


def check_name(store: Store, name: str) -> None:
    """Raises ValueError if another study lives in the folder; one grid may follow another."""
    there = read(store)
    if there and there["name"] != short_name(name) and not (is_grid(there["name"]) and is_grid(name)):
        raise ValueError(
            f"{store.folder}: holds the study {there['name']!r}, not {short_name(name)!r}; "
            "choose another --out"
        )


def check_settings(store: Store, overrides: list[str]) -> None:
    """Raises ValueError if the study in the folder has other settings."""
    there = read(store)
    if there and _settings(there["overrides"]) != _settings(overrides):
        was = " ".join(f"--set {override}" for override in there["overrides"]) or "no --set"
        raise ValueError(
            f"{store.folder}: was begun with {was}; give the same settings to continue, or choose another "
            "--out; `isoflop plan` with this --out changes the study's settings"
        )


def check_same_grid(store: Store, name: str) -> None:
    """Raises ValueError if the folder keeps another grid than this file's."""
    there = read(store)
    if not there or not is_grid(name):
        return
    if _text(kept_grid(store, there["name"])) != Path(name).read_text(encoding="utf-8", errors="replace"):
        raise ValueError(
            f"{store.folder}: {name} is not the grid that is planned here; `isoflop plan {name} --out "
            f"{store.folder}` plans it, and keeps the runs that are in both"
        )


def check_code(store: Store) -> None:
    """Raises ValueError if the study was planned with a file of the user's own that has not run here."""
    names = {file.path.name for file in user_code.RUN}
    missing = [copy for copy in (read(store) or {}).get("code", []) if Path(copy).name not in names]
    if missing:
        flags = " ".join(f"--code {shlex.quote(str(store.folder / copy))}" for copy in missing)
        raise ValueError(
            f"{store.folder}: was planned with code of your own, which runs only if you name it: add {flags}"
        )


def worker_code(store: Store, folder: str | Path) -> list[str]:
    """What the command line of a worker says to run the files that configurations name: all but the study's
    own, unless a setting names what is in that, too.

    Args:
      store: the study's folder.
      folder: the same, as the worker sees it.
    """
    there = read(store) or {}
    settings = " ".join(there.get("overrides", []))
    return [
        flag
        for file, flag in zip(user_code.RUN, user_code.flags(folder))
        if file.path.name != there.get("name") or file.sha256[:12] in settings
    ]


def load(store: Store) -> Any:
    """The study that the folder describes. Imports jax.

    Raises:
      ValueError: the folder describes none, or one of the user's own whose file this process has not run.
    """
    from experiments.studies import load_study

    there = read(store)
    if there is None:
        raise ValueError(f"{store.folder}: no study here; `isoflop plan NAME --out {store.folder}` makes one")
    if is_grid(there["name"]):
        kept = kept_grid(store, there["name"])
        if not kept.is_file():
            raise ValueError(
                f"{kept} is gone, which says what the study is; plan the grid with this --out again"
            )
        return load_study(str(kept), there["overrides"])
    name = there.get("file") or there["name"]
    return load_study(name, there["overrides"], str(store.folder))


def prepared(store: Store) -> Any:
    """The study that the folder describes, prepared where its relative paths are right; raises as `load`."""
    with where_it_was_planned(store):
        return load(store).prepared()


def short_name(name: str) -> str:
    """The study's name; of a user's own file its file name, so that both may move."""
    return Path(name).name if name.endswith(".py") or is_grid(name) else name


def is_grid(name: str) -> bool:
    """Whether a study of this name is a grid, whose file its folder keeps."""
    return name.endswith(GRID_SUFFIXES)


def kept_grid(store: Store, name: str) -> Path:
    """Where the folder keeps the grid of this file name."""
    return store.folder / f"grid{Path(name).suffix}"


def _text(path: Path) -> str | None:
    """The content of a file; None if there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _settings(overrides: list[str]) -> dict[str, str]:
    """What the overrides come to: of two for one field the last counts."""
    fields = (override.partition("=") for override in overrides)
    return {name: value for name, _, value in fields}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in LIBRARIES
    }
