"""C4 and mC4 (C4 in 108 languages) from TensorFlow Datasets, which have splits of their own.

A corpus of one of them keeps these splits. As a component of a mixture it gives the documents of its training
split, of which the mixture holds out some itself, as of every component.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from experiments.data.document import Document
from experiments.data_configs import DataConfig

if TYPE_CHECKING:
    import seqio

C4 = "c4/en:3.*.*"
MC4 = "c4/multilingual:3.*.*"
C4_SPLITS = {"train": "train", "validation": "validation[:50%]", "test": "validation[50%:]"}
LICENCE = "ODC-BY; see https://www.tensorflow.org/datasets/catalog/c4"


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
