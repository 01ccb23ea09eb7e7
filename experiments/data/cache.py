"""The token cache: a corpus as flat arrays on disk, mapped into memory by every process that reads it.

Layout: <folder>/manifest.json and, for each split, <folder>/<split>/tokens.bin (little endian uint16, or
uint32 for vocabularies above 65,536) and documents.bin (int64 offsets, n_documents + 1 of them). Every
document ends with the end-of-sequence token (EOS).
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.files import sync_folder, write_atomic

SPLITS = ("train", "validation", "test")
EOS = 1  # in every vocabulary made here; 0 is padding. A user's tokenizer has its own: see the manifest
CHECKED_BYTES = 1 << 30  # a second's reading; of larger files only the size is checked
FORMAT = 1  # raised when the layout, or how text is cut or cleaned, changes: caches are then made again


@dataclass(frozen=True)
class TokenCache:
    """One split. `tokens` is int[n_tokens]; document d is tokens[offsets[d]:offsets[d + 1]], EOS included.

    `n_bytes` counts the UTF-8 bytes of the text: bits per byte = loss / ln 2 * n_tokens / n_bytes.
    `components`, of a corpus that has some: the entry of the manifest, of this split.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    n_bytes: int
    manifest: dict[str, Any]
    components: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def n_documents(self) -> int:
        """Documents of the split."""
        return len(self.offsets) - 1


def open_cache(folder: Path | str, split: str) -> TokenCache:
    """Maps one split into memory. File sizes are checked against the manifest, and, up to CHECKED_BYTES, the
    tokens against their sha256: a flipped bit would otherwise move every loss under the same fingerprint.

    Raises:
      ValueError: unknown split, or a cache that is incomplete or damaged: which file, and how to mend it.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise ValueError(f"split {split!r} does not exist; a token cache has {', '.join(SPLITS)}")
    manifest = read_manifest(folder)
    info, dtype = manifest["splits"][split], np.dtype(manifest["dtype"])
    tokens, documents = folder / split / "tokens.bin", folder / split / "documents.bin"
    expected = {tokens: info["n_tokens"] * dtype.itemsize, documents: (info["n_documents"] + 1) * 8}
    for path, size in expected.items():
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes where the manifest says {size}"
            raise ValueError(f"token cache is damaged: {path} {what}; delete {folder} and prepare it again")
    if expected[tokens] <= CHECKED_BYTES and _sha256(tokens, tokens.stat().st_mtime_ns) != info["sha256"]:
        raise ValueError(
            f"token cache is damaged: {tokens} is not as it was written; delete {folder} and prepare it again"
        )
    return TokenCache(
        tokens=map_array(tokens, dtype),
        offsets=map_array(documents, np.dtype("<i8")),
        n_bytes=info["n_bytes"],
        manifest=manifest,
        components=info.get("components", {}),
    )


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, changed_ns: int) -> str:
    """Of a file's content, read once a process while its time of change stays."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(folder: Path | str) -> bool:
    """Whether `folder` holds a cache that `open_cache` accepts."""
    try:
        for split in SPLITS:
            open_cache(folder, split)
    except ValueError:
        return False
    return True


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a cache: task, source, licence, tokenizer, dtype, splits, fingerprint, example; skipped
    (reason -> records that were left out while reading) and cleaning (a report), if there are any.

    Each of splits has n_documents, n_tokens, n_bytes, sha256 and n_near_duplicates (documents left out), and,
    of a corpus with components, "components": by name start, n_tokens, n_documents and n_bytes of each, whose
    tokens are those from `start` on.

    Raises:
      ValueError: there is no cache in `folder`, or its manifest is damaged or of another format.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"no token cache in {folder}: {path.name} is missing; prepare the data first"
        ) from None
    except ValueError:
        raise ValueError(
            f"token cache is damaged: {path} is not JSON; delete {folder} and prepare it again"
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"token cache {folder} is not of format {FORMAT}; delete it and prepare it again")
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Completes a cache: writes `manifest` (which has dtype, tokenizer and splits), format and fingerprint.

    The fingerprint is the sha256 of the tokens of all splits, of the tokenizer and of what the components
    are: equal for equal data.
    """
    tokens = {split: manifest["splits"][split]["sha256"] for split in SPLITS}
    components = [manifest["splits"][split].get("components") for split in SPLITS]
    parts = [tokens, manifest["tokenizer"], *([components] if any(components) else [])]
    identity = json.dumps(parts, sort_keys=True)
    complete = {"format": FORMAT, "fingerprint": hashlib.sha256(identity.encode()).hexdigest(), **manifest}
    write_atomic(folder / "manifest.json", json.dumps(complete, indent=2, ensure_ascii=False) + "\n")


class Encoded(NamedTuple):
    """Whole documents one after the other. `tokens` int[n], each document with its EOS; `lengths`
    int[documents], their tokens, and `n_bytes` int[documents], those of their texts; `components`, the
    component of each, "" in a corpus that has none."""

    tokens: np.ndarray
    lengths: np.ndarray
    n_bytes: np.ndarray
    components: list[str]


def write_split(folder: Path, split: str, batches: Iterable[Encoded], dtype: np.dtype) -> dict[str, Any]:
    """Writes one split, documents in the order of their hashes, so that every stretch is a fair sample; of a
    corpus with components one component after the other, by name.

    Args:
      folder: the cache's folder; <folder>/<split> must not exist.
      batches: its documents; they need not fit in memory.
      dtype: what tokens are stored as.

    Returns:
      n_documents, n_tokens, n_bytes, sha256 (of tokens.bin) and components, if any, for the manifest.
    """
    target = folder / split
    target.mkdir(parents=True)
    hashes, lengths, sizes, names = [], [np.empty(0, np.int64)], [], [np.empty(0, str)]
    arrived = target / "arrived.bin"
    with open(arrived, "wb") as file:
        for batch in batches:
            stored = batch.tokens.astype(dtype)
            file.write(stored.data)
            hashes += [_hash(document) for document in np.split(stored, np.cumsum(batch.lengths)[:-1])]
            lengths.append(batch.lengths)
            sizes.append(batch.n_bytes)
            names.append(np.array(batch.components, str))
    components, component_ids = np.unique(np.concatenate(names), return_inverse=True)
    order = np.lexsort([np.array(hashes, np.uint64), component_ids])
    length = np.concatenate(lengths)
    start, tokens, digest = np.cumsum(length) - length, map_array(arrived, dtype), hashlib.sha256()
    with open(target / "tokens.bin", "wb") as file:
        for document in order:
            data = tokens[start[document] : start[document] + length[document]].tobytes()
            file.write(data)
            digest.update(data)
        file.flush()
        os.fsync(file.fileno())
    arrived.unlink()
    offsets = np.concatenate([[0], np.cumsum(length[order])]).astype("<i8")
    write_atomic(target / "documents.bin", offsets.tobytes())
    info: dict[str, Any] = {
        "n_documents": len(order),
        "n_tokens": int(offsets[-1]),
        "n_bytes": int(sum(map(np.sum, sizes))),
        "sha256": digest.hexdigest(),
    }
    if any(components):
        info["components"] = _per_component(components, component_ids, length, np.concatenate(sizes))
    return info


def _per_component(
    names: np.ndarray, component_ids: np.ndarray, length: np.ndarray, n_bytes: np.ndarray
) -> dict[str, dict[str, int]]:
    """The entry "components" of a split; `component_ids` int[documents] index `names`."""
    n_tokens = np.bincount(component_ids, length).astype(int)
    columns = {
        "start": np.cumsum(n_tokens) - n_tokens,
        "n_tokens": n_tokens,
        "n_documents": np.bincount(component_ids),
        "n_bytes": np.bincount(component_ids, n_bytes).astype(int),
    }
    return {str(name): {key: int(x[i]) for key, x in columns.items()} for i, name in enumerate(names)}


def cache_root(root: Path | str | None = None) -> Path:
    """The folder of all caches: `root`, else environment variable ISOFLOP_CACHE, else ~/.cache/isoflop."""
    return Path(root or os.environ.get("ISOFLOP_CACHE") or "~/.cache/isoflop").expanduser().resolve()


def build_once(folder: Path, whole: Callable[[Path], bool], build: Callable[[Path], None]) -> None:
    """Makes `folder` if it is not there or not whole: one process at a time, another one waits and finds it.

    Only a complete cache gets its name, so a killed process leaves nothing but a temporary folder, which the
    next one removes.

    Args:
      folder: of the cache; its parent is made.
      whole: whether a folder holds a cache that can be used.
      build: writes the cache into an empty folder; what it raises leaves nothing behind.

    Raises:
      OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{folder.name}.lock"):
        if whole(folder):
            return
        _remove_leftovers(folder)
        built = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.tmp"))
        built.chmod(0o755)
        try:
            build(built)
            publish(built, folder)
        finally:
            _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.parent.glob(f".{folder.name}.tmp*"):
        shutil.rmtree(leftover)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`; the operating system lets go of it when the process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def publish(built: Path, folder: Path) -> None:
    """Renames the complete cache `built` to `folder`; replaces what was there."""
    if folder.exists():
        folder.rename(built.with_name(f"{built.name}.old"))
    built.rename(folder)
    sync_folder(folder.parent)


def map_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """A file as a read-only array; a plain view, because indexing an np.memmap is several times slower."""
    return np.memmap(path, dtype, "r").view(np.ndarray) if path.stat().st_size else np.empty(0, dtype)


def _hash(document: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(document.data, digest_size=8).digest(), "little")
