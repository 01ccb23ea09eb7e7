"""The laws by name; a new one is a file of this package and a line here."""

import difflib
import importlib.util
from pathlib import Path

from scaling.laws.chinchilla import CHINCHILLA
from scaling.laws.law import FREE, Columns, Law

__all__ = ["CHINCHILLA", "FORMS", "FREE", "LAWS", "Columns", "Law", "find"]

LAWS = {law.name: law for law in (CHINCHILLA,)}
FORMS = {form.name: form for law in LAWS.values() for form in (law, law.relaxed or law)}


def find(name: str) -> Law:
    """A law, or the relaxed form of one, by its name; of a user's own, `path.py:name` runs that file.

    Raises:
      ValueError: there is no such law, file or name in it.
    """
    path, colon, variable = name.rpartition(":")
    if colon:
        return _from_file(Path(path), variable)
    if name not in FORMS:
        near = difflib.get_close_matches(name, FORMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LAWS)}"
        raise ValueError(f"unknown law {name!r}; {hint} A law of your own is path.py:name")
    return FORMS[name]


def _from_file(path: Path, variable: str) -> Law:
    if not path.is_file():
        raise ValueError(f"law {path}:{variable}: no file {path}; expected path.py:name")
    spec = importlib.util.spec_from_file_location(f"law_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"law {path}:{variable}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"law {path}:{variable}: {path} failed: {type(error).__name__}: {error}") from error
    law = getattr(module, variable, None)
    if not isinstance(law, Law):
        known = [name for name, value in vars(module).items() if isinstance(value, Law)]
        raise ValueError(
            f"law {path}:{variable}: there is no such Law; {path} has {', '.join(known) or 'none'}"
        )
    return law
