"""Datasets of TensorFlow Datasets (TFDS): by name, from a folder that it prepared, and C4 and mC4.

Of any dataset the split "train" is taken, and divided as every corpus is. C4 and mC4 (C4 in 108 languages)
keep splits of their own. As a component of a mixture they give the documents of their training split, of
which the mixture holds out some itself, as of every component.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.data.document import Document
from experiments.data.sources.left_out import LeftOut, Skipped, kept
from experiments.data_configs import DataConfig

if TYPE_CHECKING:
    import seqio

C4 = "c4/en:3.*.*"
MC4 = "c4/multilingual:3.*.*"
C4_SPLITS = {"train": "train", "validation": "validation[:50%]", "test": "validation[50%:]"}
LICENCE = "ODC-BY; see https://www.tensorflow.org/datasets/catalog/c4"
ANY_LICENCE = "the dataset's own; see its page in https://www.tensorflow.org/datasets/catalog"


def identity_of_any(path: str, text_field: str = "text") -> dict[str, Any]:
    """What the corpus is made from: a name, or the files of a folder; raises ValueError for neither."""
    if not path:
        raise ValueError(
            "data.path is empty; task 'tfds' needs data.path=NAME[/CONFIG][:VERSION], or a folder with a "
            "dataset_info.json"
        )
    folder = Path(path).expanduser()
    stats = {file.name: file.stat() for file in sorted(folder.glob("*")) if file.is_file()}
    files = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
    return {"tfds": path if not files else "", "files": files, "text_field": text_field}


def records_of_any(path: str, text_field: str = "text", skipped: Skipped | None = None) -> Iterator[Document]:
    """Documents of the split "train" with their other features; those without text are left out, and counted
    in `skipped`.

    Raises:
      ValueError: TFDS does not know it, cannot fetch it, or it has no such feature.
    """
    import tensorflow_datasets

    folder = Path(path).expanduser()
    try:
        if (folder / "dataset_info.json").is_file():
            builder: Any = tensorflow_datasets.builder_from_directory(folder)
        else:
            builder = tensorflow_datasets.builder(path)
            builder.download_and_prepare()
        found = builder.as_dataset(split="train", shuffle_files=False)
    except Exception as error:  # TFDS raises whatever its file systems, downloads and Beam raise
        raise ValueError(
            f"data.path={path}: TensorFlow Datasets does not give it ({type(error).__name__}: "
            f"{str(error).strip()[:200]}); it needs network, or the folder of a prepared version (with "
            "dataset_info.json)"
        ) from error
    if text_field not in (features := sorted(builder.info.features or ())):
        raise ValueError(
            f"data.path={path}: no feature {text_field!r} (it has {', '.join(features)}); data.text_field "
            "says which"
        )
    yield from kept((_document(row, text_field) for row in found.as_numpy_iterator()), path, skipped)


def _document(row: dict[str, Any], text_field: str) -> Document | LeftOut:
    values = {name: _plain(value) for name, value in row.items()}
    text = values.pop(text_field)
    return Document(text, values) if isinstance(text, str) else LeftOut(f"without a string {text_field!r}")


def identity(config: DataConfig) -> dict[str, Any]:
    """Which data set it is; raises ValueError for mC4 without a language."""
    name, splits = _which(config)
    return {"tfds": name, "splits": splits, "data_dir": config.path}


def source(config: DataConfig) -> seqio.DataSource:
    """Task "c4", or "mc4" in `config.language`, from folder `config.path` if given.

    Raises:
      ValueError: TFDS neither finds it there nor can fetch it; mC4 without a language.
    """
    import seqio

    name, splits = _which(config)
    found = seqio.TfdsDataSource(name, tfds_data_dir=config.path or None, splits=splits)
    try:
        found.get_dataset("train", shuffle=False)
    except Exception as error:  # TFDS raises whatever its file systems, downloads and Beam raise
        where = config.path or "its default folder"
        raise ValueError(
            f"data.task={config.task}: TensorFlow Datasets has no prepared {name} in {where} and cannot "
            f"fetch it ({type(error).__name__}: {str(error)[:200]}); give data.path=FOLDER or network"
        ) from error
    return found


def records(config: DataConfig) -> Iterator[Document]:
    """The documents of the training split with their fields; raises as `source`."""
    return documents(source(config), "train")


def documents(source: seqio.DataSource, split: str) -> Iterator[Document]:
    """The documents of a split with their fields."""
    for record in source.get_dataset(split, shuffle=False).as_numpy_iterator():
        values = {name: _plain(value) for name, value in record.items()}
        yield Document(str(values.pop("text")), values)


def _which(config: DataConfig) -> tuple[str, dict[str, str]]:
    """Name and splits; those of mC4's languages are halved into validation and test, too."""
    if config.task == "c4":
        return C4, C4_SPLITS
    if not config.language:
        raise ValueError("data.task=mc4 needs a language by mC4's code: data.language=sw")
    held_out = f"{config.language}-validation"
    splits = {"train": config.language, "validation": f"{held_out}[:50%]", "test": f"{held_out}[50%:]"}
    return MC4, splits


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
