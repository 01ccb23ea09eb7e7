"""The default corpus: what is taken from source files, and what is left out."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from experiments.data.sources import docstrings
from experiments.data.sources.docstrings import MIN_LENGTH, clean, from_file, source_files, without_repeats

PROSE = "Returns the words of a sentence in the order in which a patient reader would come across them. " * 3

SOURCE = f'''
"""Module. {PROSE}"""
raise RuntimeError("a file that is read, not run")

if True:
    class Outer:
        """Outer. {PROSE}"""

        async def method(self):
            r"""Method with a backslash \\d. {PROSE}"""

            def inner():
                """Inner. {PROSE}"""

        def short(self):
            """Too short."""

try:
    def attempt():
        """Attempt. {PROSE}"""
except ValueError:
    def otherwise():
        """Otherwise. {PROSE}"""

TEXT = """Not a docstring. {PROSE}"""
'''


@pytest.fixture
def write(tmp_path):
    def make(source: str | bytes, name: str = "module.py") -> Path:
        path = tmp_path / name
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return path

    return make


def test_docstrings_of_modules_classes_and_functions_are_found(write):
    found = from_file(write(SOURCE))
    assert [text.split()[0].rstrip(".") for text in found] == [
        "Module",
        "Outer",
        "Method",
        "Inner",
        "Attempt",
        "Otherwise",
    ]
    assert all(len(text) >= MIN_LENGTH for text in found)


@pytest.mark.parametrize(
    "source",
    [
        '"""' + PROSE + '"""\nprint "python 2"',
        b'"""' + PROSE.encode() + b'"""\0',
        b'"""\xff' + PROSE.encode() + b'"""',
    ],
    ids=["syntax", "null", "encoding"],
)
def test_files_that_do_not_parse_are_left_out(write, source):
    assert from_file(write(source)) == []


def test_source_encoding_is_respected(write):
    found = from_file(write(f'# coding: latin-1\n"""Café. {PROSE}"""'.encode("latin-1")))
    assert found[0].startswith("Café.")


def test_clean_drops_sessions_and_indentation():
    docstring = """Adds.

    Examples
    --------
    >>> add(1, 2)
    3
    >>> for i in range(2):
    ...     add(i, i)
    0
    2

    Prose   
      indented more.


    """
    assert clean(docstring) == "Adds.\n\nExamples\n--------\n\nProse\n  indented more."


def test_repeated_beginnings_are_dropped():
    texts = ["One, two: THREE.", "one two three", "One two three four", "x" * 400 + "a", "x" * 400 + "b"]
    assert list(without_repeats(texts)) == ["One, two: THREE.", "One two three four", "x" * 400 + "a"]


def test_source_files_are_those_of_installed_packages_without_tests():
    files = source_files()
    names = {str(file) for file in files}
    assert len(names) == len(files)
    assert os.__file__ in names and any(name.endswith("numpy/linalg/_linalg.py") for name in names)
    for file in files:
        assert not {"tests", "test"} & set(file.parts) and not file.name.startswith("test_")


def test_source_files_are_found_without_importing_anything():
    code = """
import sys
from experiments.data.sources import docstrings
docstrings.source_files()
print(sorted(set(docstrings.PACKAGES) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_are_requirements_that_are_installed():
    missing = [name for name, version in docstrings.identity()["versions"].items() if version is None]
    assert missing == []


def test_corpus_does_not_depend_on_the_number_of_workers(monkeypatch):
    monkeypatch.setattr(docstrings, "PACKAGES", {"absl": "absl-py"})
    chosen = ("absl", "json", "email", "asyncio", "logging")
    files = {file: package for file, package in source_files().items() if file.parts[-2] in chosen}
    monkeypatch.setattr(docstrings, "source_files", lambda: files)
    corpus = list(docstrings.documents(n_workers=2))
    assert corpus == list(docstrings.documents(n_workers=1))
    assert sum(map(len, corpus)) > 100_000
    assert all(len(document.decode()) >= MIN_LENGTH and b"\n>>>" not in document for document in corpus)
    records = list(docstrings.records(n_workers=1))
    assert [record.text.encode() for record in records] == corpus
    assert {record.fields["package"] for record in records} == {"absl", "python"}


def test_workers_of_a_killed_process_end():
    code = """
import multiprocessing, time
from experiments.data.sources import docstrings
found = docstrings.documents()
next(found)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    workers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    process.kill()
    process.wait()

    def alive() -> bool:
        return any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)

    deadline = time.monotonic() + 30
    while alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive()
