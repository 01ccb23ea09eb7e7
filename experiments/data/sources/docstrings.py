"""The default corpus: docstrings of the Python standard library and of packages that isoflop installs anyway.

Real technical English that needs no download and that nobody has to ship. Files are parsed, never imported.
"""

import ast
import gc
import importlib.metadata
import importlib.util
import inspect
import multiprocessing
import operator
import os
import platform
import re
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from experiments.data.document import Document

T = TypeVar("T")

# Import name -> distribution. All come with isoflop itself, as its requirements or those of JAX, Flax, seqio:
# extras make no difference. Chosen for much prose and little repetition.
PACKAGES = {
    "tensorflow": "tensorflow",
    "scipy": "scipy",
    "pandas": "pandas",
    "jax": "jax",
    "numpy": "numpy",
    "keras": "keras",
    "orbax": "orbax-checkpoint",
    "flax": "flax",
    "pyglove": "pyglove",
    "optax": "optax",
    "narwhals": "narwhals",
    "tensorflow_text": "tensorflow-text",
    "grpc": "grpcio",
    "absl": "absl-py",
    "optree": "optree",
    "rich": "rich",
    "treescope": "treescope",
    "seqio": "seqio",
    "jinja2": "jinja2",
    "urllib3": "urllib3",
    "pyarrow": "pyarrow",
    "packaging": "packaging",
    "clu": "clu",
    "attr": "attrs",
    "dateutil": "python-dateutil",
    "ml_collections": "ml-collections",
}
MIN_LENGTH = 200
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "_vendor", "__pycache__"}
LICENCE = "each package's own (PSF, Apache-2.0, BSD, MIT); extracted locally, not redistributed"

_DOCTEST = re.compile(r"^[ \t]*>>>.*(?:\n[ \t]*\S.*)*", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_NOT_LETTERS = re.compile(r"[\W\d_]+")


def identity() -> dict[str, Any]:
    """What the corpus is made from: versions of Python and of every package (None: not installed)."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for distribution in PACKAGES.values():
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[distribution] = None
    return {"versions": versions}


def documents(n_workers: int = 2) -> Iterator[bytes]:
    """The texts of `records` as UTF-8."""
    found = records(n_workers)
    return (record.text.encode() for record in found)


def records(n_workers: int = 2) -> Iterator[Document]:
    """The corpus: docstrings in a fixed order, without repeated beginnings; their field "package" is that of
    PACKAGES, "python" for the standard library.

    Workers start at once, before the first document is asked for. Files that do not parse are left out.
    """
    pool = ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    files = source_files()
    return _collect(pool, files.values(), pool.map(from_file, files, chunksize=64))


def _collect(
    pool: ProcessPoolExecutor, packages: Iterable[str], found: Iterable[list[str]]
) -> Iterator[Document]:
    with pool:
        everything = ((text, package) for package, texts in zip(packages, found) for text in texts)
        for text, package in without_repeats(everything, text_of=operator.itemgetter(0)):
            yield Document(text.encode("utf-8", "replace").decode(), {"package": package})


def _start_worker() -> None:
    gc.disable()  # syntax trees have no cycles to collect; looking for them takes a fifth of the time
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers of a killed process wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def source_files() -> dict[Path, str]:
    """Python files of the standard library and of PACKAGES, tests left out, in a fixed order, each with its
    package."""
    roots = [(sysconfig.get_paths()["stdlib"], "python")]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)  # of a top-level name: finds it without importing anything
        roots += [(root, name) for root in (spec and spec.submodule_search_locations) or []]
    found: dict[Path, str] = {}  # a package may list a folder of its own a second time
    for root, package in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
            for file in filter(_is_source, sorted(files)):
                found.setdefault(Path(folder, file), package)
    return found


def _is_source(name: str) -> bool:
    return name.endswith(".py") and not (name.startswith("test_") or name.endswith("_test.py"))


def from_file(path: Path) -> list[str]:
    """Cleaned docstrings of at least MIN_LENGTH characters, in order; none if the file does not parse."""
    try:
        source = path.read_bytes()
        quoted = source.replace(b"'''", b'"""').split(b'"""')[1::2]
        if max(map(len, quoted), default=0) < MIN_LENGTH:  # two files in five need no parsing
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        return [text for text in map(clean, docstrings(tree)) if len(text) >= MIN_LENGTH]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def docstrings(node: ast.AST) -> Iterator[str]:
    """Raw docstrings of a module and of the classes and functions in it, however nested."""
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
        first = body[0].value if isinstance(body[0], ast.Expr) else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, field, ()):
            yield from docstrings(child)


def clean(docstring: str) -> str:
    """Common indentation, interpreter sessions (input and output) and runs of blank lines taken out."""
    text = "\n".join(line.rstrip() for line in inspect.cleandoc(docstring).splitlines())
    return _BLANK_LINES.sub("\n\n", _DOCTEST.sub("", text)).strip()


def without_repeats(texts: Iterable[T], text_of: Callable[[T], str] = str) -> Iterator[T]:
    """Texts whose beginning (first 400 letters, lower case) has not been seen before; of other things
    `text_of` gives the text."""
    seen = set()
    for each in texts:
        beginning = _NOT_LETTERS.sub("", text_of(each)[:1600]).lower()[:400]
        if beginning not in seen:
            seen.add(beginning)
            yield each
