"""Examples of post-training, prepared once: named columns of integers or numbers on disk, mapped into memory.

An example is one item of training: a conversation, a pair of responses, a prompt. It is a dict of small
arrays, {"tokens": int[n], "mask": bool[n]} or {"chosen": int[n], "rejected": int[m], "prompt_length": 5}, and
all examples of a set have the same names. On disk, a column is one flat array and the offsets of the examples
in it:

    <folder>/manifest.json                        columns, counts, fingerprint
    <folder>/<split>/<column>.bin                 int32, uint8 (of bool) or float32, little endian
    <folder>/<split>/<column>.offsets.bin         int64, n_examples + 1

How another kind of example is added: write a function that yields one `Example` after the other, give it to
`prepare` with a dict that says what they are made from, and make batches from the columns:

    folder = prepare("preferences", {"file": ..., "vocab": ...}, lambda: read_pairs(path, vocab))
    train = open_examples(folder, "train")
    chosen = shuffled(len(train), seed, step, batch_size)          # experiments.data.batches
    chosen_BT = train.columns["chosen"].padded(chosen, width)      # int32, 0 behind the end
    lengths_B = train.columns["chosen"].lengths[chosen]
    prompt_lengths_B = train.columns["prompt_length"].scalars[chosen]

Nothing else has to know the kind. A batch is then a pure function of (seed, step): resuming needs no replay.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.cache import build_once, cache_root, map_array
from experiments.files import write_atomic

SPLITS = ("train", "validation")
VALIDATION_SHARE = 20  # one example in so many, by its hash, is held out
FORMAT = 2  # raised when the layout, or what is made of records, changes: sets are then prepared again
DTYPES = {"b": np.dtype("|u1"), "i": np.dtype("<i4"), "u": np.dtype("<i4"), "f": np.dtype("<f4")}


@dataclass(frozen=True)
class Example:
    """One item of training.

    `columns` are arrays of one dimension, or single numbers. Examples of equal `key` are on the same side of
    the split, such as the pairs that one prompt gave; b"": the whole content is the key.
    """

    columns: Mapping[str, Any]
    key: bytes = b""


@dataclass(frozen=True)
class RaggedColumn:
    """One array an example: that of example i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    @staticmethod
    def of(arrays: Sequence[np.ndarray]) -> "RaggedColumn":
        """The column of these arrays, an example each; at least one."""
        return RaggedColumn(np.concatenate(arrays), np.cumsum([0, *map(len, arrays)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64[n_examples]."""
        return np.diff(self.offsets)

    @property
    def scalars(self) -> np.ndarray:
        """[n_examples]: the values of a column that has one number an example.

        Raises:
          ValueError: it has not.
        """
        if len(self.values) != len(self) or (self.lengths != 1).any():
            raise ValueError("examples: a column of arrays is read as one number an example; use `padded`")
        return self.values

    def padded(self, index_B: np.ndarray, width: int) -> np.ndarray:
        """[B, width] of the examples with these numbers: their leading `width` values, 0 behind their end."""
        place_BT = self.offsets[index_B, None] + np.arange(width)
        inside_BT = place_BT < self.offsets[index_B + 1, None]
        if not len(self.values):
            return np.zeros(place_BT.shape, self.values.dtype)
        return np.where(inside_BT, self.values[np.where(inside_BT, place_BT, 0)], 0).astype(self.values.dtype)


@dataclass(frozen=True)
class Examples:
    """One split of a prepared set, examples in the order of their hashes: every stretch is a fair sample.

    `fingerprint` is the sha256 of all columns of both splits: equal for equal examples; "" of examples that
    were not read but made.
    """

    columns: Mapping[str, RaggedColumn]
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return self.manifest.get("fingerprint", "")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return {name: column[i] for name, column in self.columns.items()}


def prepare(
    task: str,
    identity: Mapping[str, Any],
    read: Callable[[], Iterable[Example]],
    fingerprint: str = "",
    root: Path | str | None = None,
) -> Path:
    """The folder of the prepared examples, made now if it is not there or damaged.

    Args:
      task: what they are, the beginning of the folder's name.
      identity: all that decides what they are, in JSON's types: another identity is another set.
      read: gives the examples, in any order; called only if they are not there.
      fingerprint: of the set that a run was planned with; "" accepts any. A set that has it serves even if
        `identity` has changed since.
      root: folder of all caches; default: that of `experiments.data.cache.cache_root`.

    Raises:
      ValueError: what `read` raises, no examples, a split without any, names or types that differ between
        examples, or other examples than those of `fingerprint`.
    """
    if found := find(task, fingerprint, root):
        return found
    root = cache_root(root)
    digest = hashlib.sha256(json.dumps([FORMAT, task, identity], sort_keys=True).encode()).hexdigest()
    folder = root / f"examples-{task}-{digest[:10]}"
    if not is_whole(folder):
        build_once(folder, is_whole, lambda built: write_examples(built, read(), task))
    found = read_manifest(folder)["fingerprint"]
    if fingerprint and found != fingerprint:
        raise ValueError(
            f"the examples have changed since this was planned: examples.fingerprint={fingerprint[:12]}… but "
            f"{folder} has {found[:12]}…; bring them back, or plan anew"
        )
    return folder


def find(task: str, fingerprint: str, root: Path | str | None = None) -> Path | None:
    """The folder of prepared examples with this fingerprint, or None, as there is for ""."""
    for folder in sorted(cache_root(root).glob(f"examples-{task}-*")) if fingerprint else ():
        if is_whole(folder) and read_manifest(folder)["fingerprint"] == fingerprint:
            return folder
    return None


def write_examples(folder: Path, examples: Iterable[Example], task: str) -> None:
    """Writes both splits and the manifest into the empty `folder`.

    Raises:
      ValueError: as `prepare`.
    """
    splits: dict[str, list[tuple[bytes, dict[str, np.ndarray]]]] = {split: [] for split in SPLITS}
    dtypes: dict[str, np.dtype] = {}
    for number, example in enumerate(examples, 1):
        columns = {name: _stored(name, value, number) for name, value in example.columns.items()}
        here = {name: column.dtype for name, column in columns.items()}
        dtypes = dtypes or here
        if here != dtypes:
            raise ValueError(f"examples: number {number} has columns {_names(here)}, others {_names(dtypes)}")
        content = b"".join(_digest(name.encode(), column.tobytes()) for name, column in columns.items())
        held_out = int.from_bytes(_digest(example.key or content), "little") % VALIDATION_SHARE == 0
        splits["validation" if held_out else "train"].append((_digest(content), columns))
    counts = {split: len(found) for split, found in splits.items()}
    if not all(counts.values()):
        raise ValueError(
            f"examples: too few, a split is empty ({counts}); one in {VALIDATION_SHARE} goes to validation, "
            "by its hash: give a hundred"
        )
    digest = hashlib.sha256(json.dumps([task, {n: d.str for n, d in dtypes.items()}]).encode())
    for split, found in splits.items():
        found.sort(key=lambda pair: pair[0])
        (folder / split).mkdir()
        for name, dtype in dtypes.items():
            arrays = [columns[name] for _, columns in found]
            values = np.concatenate(arrays).astype(dtype)
            offsets = np.cumsum([0, *map(len, arrays)]).astype("<i8")
            for suffix, array in (("bin", values), ("offsets.bin", offsets)):
                write_atomic(folder / split / f"{name}.{suffix}", array.tobytes())
                digest.update(array.tobytes())
    manifest = {
        "format": FORMAT,
        "task": task,
        "fingerprint": digest.hexdigest(),
        "columns": {name: dtype.str for name, dtype in dtypes.items()},
        "n_examples": counts,
    }
    write_atomic(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def open_examples(folder: Path | str, split: str) -> Examples:
    """Maps one split into memory. Sizes of files are checked; contents are not read.

    Raises:
      ValueError: unknown split, or a set that is incomplete or damaged: which file, and how to mend it.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise ValueError(f"split {split!r} does not exist; examples have {', '.join(SPLITS)}")
    manifest = read_manifest(folder)
    n, columns = manifest["n_examples"][split], {}
    for name, dtype in manifest["columns"].items():
        offsets = _map(folder / split / f"{name}.offsets.bin", np.dtype("<i8"), n + 1, folder)
        values = _map(folder / split / f"{name}.bin", np.dtype(dtype), int(offsets[-1]), folder)
        columns[name] = RaggedColumn(values, offsets)
    return Examples(columns, manifest)


def is_whole(folder: Path) -> bool:
    """Whether `folder` holds examples that `open_examples` accepts."""
    try:
        for split in SPLITS:
            open_examples(folder, split)
    except ValueError:
        return False
    return True


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a set: task, fingerprint, columns (types by name) and n_examples (by split).

    Raises:
      ValueError: there is none in `folder`, or it is damaged or of another format.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"no examples in {folder}: {path.name} is missing; prepare them first") from None
    except (ValueError, RecursionError):
        raise ValueError(f"examples are damaged: {path} is not JSON; delete {folder}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"examples in {folder} are not of format {FORMAT}; delete it and prepare them again")
    return manifest


def _stored(name: str, value: Any, number: int) -> np.ndarray:
    """A value as it is stored: one dimension, one of DTYPES."""
    array = np.atleast_1d(value)
    if array.ndim != 1 or array.dtype.kind not in DTYPES:
        raise ValueError(
            f"examples: number {number}, {name!r} is {array.dtype}{list(array.shape)}; "
            "columns are numbers, or arrays of them with one dimension"
        )
    return array.astype(DTYPES[array.dtype.kind])


def _names(dtypes: dict[str, np.dtype]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in dtypes.items())


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).digest()


def _map(path: Path, dtype: np.dtype, n: int, folder: Path) -> np.ndarray:
    size = path.stat().st_size if path.is_file() else None
    if size != n * dtype.itemsize:
        what = "is missing" if size is None else f"has {size} bytes where {n * dtype.itemsize} are expected"
        raise ValueError(f"examples are damaged: {path} {what}; delete {folder} and prepare them again")
    return map_array(path, dtype)
