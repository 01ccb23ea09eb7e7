"""Safetensors files, one tensor at a time: a folder of one file or of shards with an index."""

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  names bfloat16 to numpy, which safetensors needs
import numpy as np
from safetensors import SafetensorError, safe_open

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000  # at most so many in one file, as on the hub
FLOATS = ("F32", "BF16", "F16", "F64")


class Tensors:
    """The tensors of a folder, none of them in memory.

    Raises:
      ValueError: no safetensors there, or a file, an index or a tensor's type that cannot be used.
    """

    def __init__(self, folder: Path):
        self.folder, files = folder, _files(folder)
        self.found: dict[str, tuple[Path, Any]] = {}
        for path in files:
            try:
                # Not mapped: pages of a mapped file would stay in memory next to what is made of them.
                opened = safe_open(str(path), framework="np", backend="pread")
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{path}: not a whole safetensors file ({error})") from None
            self.found |= {name: (path, opened) for name in opened.keys()}  # noqa: SIM118
        for name, path in _indexed(folder).items():
            if self.found.get(name, (None,))[0] != path:
                raise ValueError(
                    f"{folder / INDEX}: says that {name} is in {path.name}, which does not have it"
                )

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def names(self) -> list[str]:
        return list(self.found)

    def file(self, name: str) -> Path:
        return self.found[name][0]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape; its type is checked, too."""
        path, opened = self.found[name]
        about = opened.get_slice(name)
        if about.get_dtype() not in FLOATS:
            raise ValueError(f"{path}: {name} is {about.get_dtype()}; allowed are {', '.join(FLOATS)}")
        return tuple(about.get_shape())

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32; one with infinities or NaN is refused."""
        path, opened = self.found[name]
        values = opened.get_tensor(name).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            n = values.size - int(np.isfinite(values).sum())
            raise ValueError(
                f"{path}: {n} of {values.size} numbers of {name} are not finite: it has diverged, "
                "or is damaged; give another checkpoint"
            )
        return values


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        return sorted(set(_indexed(folder).values()))
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    others = [path.name for path in folder.glob("pytorch_model*.bin")]
    hint = "; convert the .bin files, pickles are not read" if others else ""
    raise ValueError(f"{folder} has neither {SINGLE} nor {INDEX}{hint}")


def _indexed(folder: Path) -> dict[str, Path]:
    """File of every tensor that the index names; none without an index."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    index = read_json(path)
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        raise ValueError(f"{path}: expected an object with weight_map")
    files = {name: folder / str(file) for name, file in index["weight_map"].items()}
    for file in set(files.values()):
        if file.parent != folder or not file.is_file():
            raise ValueError(f"{path}: names the file {file.name}, which is not in {folder}")
    return files


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
      ValueError: it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); give another copy") from None


Tensor = tuple[str, tuple[int, ...], Callable[[], np.ndarray]]


def write_tensors(folder: Path, tensors: Iterable[Tensor], shard_bytes: int = SHARD_BYTES) -> None:
    """Writes tensors, given as (name, shape, how to make it), as float32; one is in memory at a time.

    More bytes than `shard_bytes` go to several files with an index.
    """
    shards: list[list[Tensor]] = [[]]
    size = total = 0
    for tensor in tensors:
        n_bytes = 4 * int(np.prod(tensor[1]))
        if shards[-1] and size + n_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size, total = size + n_bytes, total + n_bytes
    if len(shards) == 1:
        return _write_file(folder / SINGLE, shards[0])
    where = {}
    for i, shard in enumerate(shards, 1):
        path = folder / f"model-{i:05}-of-{len(shards):05}.safetensors"
        _write_file(path, shard)
        where |= {name: path.name for name, _, _ in shard}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")


def _write_file(path: Path, tensors: list[Tensor]) -> None:
    """A safetensors file: length of the header, header, tensors end to end.

    Written out here because the library wants all tensors of a file in memory.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape, _ in tensors:
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, make in tensors:
            file.write(np.ascontiguousarray(make(), "<f4").data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_folder(folder: Path):
    """A folder to write into that becomes `folder` at the end, or is gone if something fails.

    Raises:
      ValueError: `folder` is there and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already; give a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, folder)  # onto nothing, or onto an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
