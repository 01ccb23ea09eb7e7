"""Code of the user's own, in Python files outside of the repository: FILE.py:NAME.

Data never run code. A file runs only because a command line names it: in a setting (family=FILE.py:NAME),
among --tasks, as the study, or by --code FILE.py. What a configuration or study.json says is looked up among
the files that this process has run so. The workers of a study are given its files on their command line, too,
with the sha256 of the content that was named; copies lie in the study's folder.

In configurations the name is FILE.py:NAME@HASH, the beginning of that sha256: other content is another run.
"""

import contextlib
import functools
import hashlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.files import write_atomic

GIVEN = re.compile(r"(.+\.py)(?:@([0-9a-f]{64}))?")
NAMED = re.compile(r'(?:(?<=[=,"])|^)([^=,"\[\]{}]+\.py):([A-Za-z_]\w*)(?=$|[,":])')
IN_CONFIGURATION = re.compile(r"([^/]+\.py):([A-Za-z_]\w*)@([0-9a-f]{12})")


@dataclass(frozen=True)
class UserFile:
    """A file that has run: where it was, its content with the sha256 of that, and what it defines."""

    path: Path
    content: bytes
    sha256: str
    module: ModuleType

    @property
    def copy(self) -> str:
        """Where in a study's folder a copy is kept."""
        return f"code/{self.sha256[:12]}/{self.path.name}"

    def name_of(self, variable: str) -> str:
        """FILE.py:NAME@HASH.

        Raises:
          ValueError: the file does not define it.
        """
        if not hasattr(self.module, variable):
            known = [name for name, value in vars(self.module).items() if _is_own(name, value)]
            raise ValueError(f"{self.path}:{variable}: no such name in the file; it has {', '.join(known)}")
        return f"{self.path.name}:{variable}@{self.sha256[:12]}"


RUN: list[UserFile] = []  # those that the command line of this process names


@contextlib.contextmanager
def of_one_command() -> Iterator[None]:
    """What a command ran is forgotten when it ends."""
    before = list(RUN)
    try:
        yield
    finally:
        for file in RUN[len(before) :]:
            _families(file, add=False)
        RUN[:] = before


def load(given: str) -> UserFile:
    """The file FILE.py, or FILE.py@SHA256 with just this content, run once.

    Raises:
      ValueError: there is no such file, its content is another, or it fails.
    """
    match = GIVEN.fullmatch(given)
    if not match or not Path(match[1]).is_file():
        raise ValueError(f"no Python file {given}; expected FILE.py")
    content = Path(match[1]).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if match[2] and match[2] != found:
        raise ValueError(f"{match[1]}: its content is not what was named (sha256 {found[:12]}…); plan anew")
    return _execute(Path(match[1]).resolve(), content, found)


def run(given: str) -> UserFile:
    """`load`, for this process to find what the file defines; raises as that does."""
    file = load(given)
    for other in RUN:
        if other.copy == file.copy:
            return other
    _families(file, add=True)
    RUN.append(file)
    return file


def run_named(text: str) -> str:
    """`text` of a command line, where each FILE.py:NAME has run and is FILE.py:NAME@HASH.

    Raises:
      ValueError: as `load`, or the file has no such name.
    """
    return NAMED.sub(lambda match: run(match[1]).name_of(match[2]), text)


def qualified(value: Any) -> Any:
    """JSON in which each FILE.py:NAME of a file that has run is FILE.py:NAME@HASH; nothing runs."""
    if isinstance(value, dict):
        return {name: qualified(item) for name, item in value.items()}
    if isinstance(value, list):
        return [qualified(item) for item in value]
    match = NAMED.fullmatch(value) if isinstance(value, str) else None
    file = match and _newest(Path(match[1]).name)
    return file.name_of(match[2]) if match and file else value


def find(name: str, where: str, kind: type | None = None) -> Any:
    """What FILE.py:NAME@HASH is; None if `name` is of another form.

    Args:
      name: as in a configuration.
      where: the setting that says so, for errors.
      kind: what it must be.

    Raises:
      ValueError: this process has not run such a file, or it is of another kind.
    """
    match = IN_CONFIGURATION.fullmatch(name)
    if not match:
        return None
    for file in RUN:
        if file.path.name == match[1] and file.sha256.startswith(match[3]):
            found = getattr(file.module, match[2], None)
            if found is None or (kind and not isinstance(found, kind)):
                expected = f"a {kind.__name__}" if kind else "a function"
                raise ValueError(f"{where}={name}: the file has no such name, or it is not {expected}")
            return found
    raise ValueError(f"{where}={name}: {not_run(match[1])}")


def study_module(file_name: str, where: str) -> ModuleType:
    """The module of a study's own file that this process has run; the newest of those of this name.

    Raises:
      ValueError: it has run none.
    """
    file = _newest(Path(file_name).name)
    if file is None:
        raise ValueError(f"{where}: its study is in {file_name}; {not_run(file_name)}")
    return file.module


def not_run(file_name: str) -> str:
    """What to do about a file that only data name."""
    other = _newest(Path(file_name).name)
    if other:
        return (
            f"{other.path} has other content now (@{other.sha256[:12]}); the folder of a study has copies in "
            "code/, for --code"
        )
    return f"a file of your own runs only if you name it: add --code {shlex.quote(file_name)}"


def keep(folder: Path) -> None:
    """Copies what has run into a study's folder, from where its workers take it."""
    for file in RUN:
        if not (folder / file.copy).exists():
            (folder / file.copy).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / file.copy, file.content)


def flags(folder: str | Path) -> list[str]:
    """What the command line of a worker says to run the copies in the study's folder, as it sees that."""
    return [f"--code={folder}/{file.copy}@{file.sha256}" for file in RUN]


def given() -> list[str]:
    """What another process here should `run` to know what this one does."""
    return [f"{file.path}@{file.sha256}" for file in RUN]


def _newest(file_name: str) -> UserFile | None:
    return next((file for file in reversed(RUN) if file.path.name == file_name), None)


@functools.cache
def _execute(path: Path, content: bytes, sha256: str) -> UserFile:
    """Runs just these bytes; dataclasses and the like look for their module where Python keeps it."""
    module = ModuleType(f"{path.stem}_{sha256[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except Exception as error:
        del sys.modules[module.__name__]
        raise ValueError(f"{path}: the file failed: {type(error).__name__}: {error}") from error
    return UserFile(path, content, sha256, module)


def _families(file: UserFile, add: bool) -> None:
    """Adds the model families of a file to those that there are, or takes them away."""
    parts = ("Config", "build", "count", "ladder")  # of models.configs.OwnFamily
    for name, value in vars(file.module).items():
        if _is_own(name, value) and all(hasattr(value, part) for part in parts):
            from models.configs import CONFIGS, FAMILIES, add_family

            if add:
                add_family(file.name_of(name), value)
            else:
                del FAMILIES[file.name_of(name)], CONFIGS[file.name_of(name)]


def _is_own(name: str, value: Any) -> bool:
    return not name.startswith("_") and not isinstance(value, ModuleType)
