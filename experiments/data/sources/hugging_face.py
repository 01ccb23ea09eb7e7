"""Datasets of the Hugging Face hub by name; a folder that `datasets` saved is read by `textfiles`.

Their library `datasets` downloads and keeps them (extra `hf-datasets`). The split "train" is taken, and
divided as every corpus is.
"""

from collections.abc import Iterator
from typing import Any

from experiments.data.document import Document
from experiments.data.sources.left_out import LeftOut, Skipped, kept
from experiments.files.extras import install_command

LICENCE = "the dataset's own; see its card"


def parse_name(path: str) -> tuple[str, str | None, str | None]:
    """The parts of `OWNER/NAME[:CONFIG][@REVISION]`: name, configuration and revision.

    Raises:
      ValueError: there is no name.
    """
    rest, _, revision = path.partition("@")
    name, _, config = rest.partition(":")
    if not name:
        raise ValueError(
            f"data.path={path!r}; task 'hugging_face' needs a name: data.path=OWNER/NAME[:CONFIG][@REVISION]"
        )
    return name, config or None, revision or None


def identity(path: str, text_field: str = "text") -> dict[str, Any]:
    """What the corpus is made from, as far as it is known without network: a revision pins it."""
    name, config, revision = parse_name(path)
    return {"name": name, "config": config, "revision": revision, "text_field": text_field}


def records(path: str, text_field: str = "text", skipped: Skipped | None = None) -> Iterator[Document]:
    """Documents of the split "train" with their other columns; those without text are left out, and counted
    in `skipped`.

    Raises:
      ValueError: the library is not installed, the dataset cannot be reached or read, it has no such column.
    """
    name, config, revision = parse_name(path)
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            f"data.path={path}: datasets by name need a library: {install_command('hf-datasets')}"
        ) from None
    try:
        rows: Any = datasets.load_dataset(name, config, split="train", revision=revision)
    except Exception as error:  # `datasets` raises whatever its file systems, hub and formats raise
        raise ValueError(
            f"data.path={path}: this dataset cannot be had ({type(error).__name__}: {str(error)[:200]}); it "
            "needs network, or a folder saved by `datasets`: data.task=files data.path=FOLDER"
        ) from error
    if text_field not in rows.column_names:
        raise ValueError(
            f"data.path={path}: no column {text_field!r} (it has {', '.join(rows.column_names)}); "
            "data.text_field says which"
        )
    found = (_document(row, text_field) for row in rows)
    yield from kept(found, path, skipped)


def _document(row: dict[str, Any], text_field: str) -> Document | LeftOut:
    text = row.pop(text_field)
    return Document(text, row) if isinstance(text, str) else LeftOut(f"without a string {text_field!r}")
