"""Durable writes: a file is either whole or not there. What tells one checkpoint's files from another's.

Beside them `extras`: how to install what isoflop can do without. Imports nothing of the project.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

REMEMBERED = 2**24  # bytes from which a file's hash is kept, for as long as size, times and inode stay
GRID_SUFFIXES = (".toml", ".yaml", ".yml", ".json")  # of a file that defines a study as a grid
JSON = {dict: "an object", list: "a list"}


def write_atomic(path: Path | str, content: str | bytes, mode: int = 0o666) -> None:
    """Writes `content` to `path`: a reader, or a crash, sees the old file or the new one, never a part.
    `mode` says who may read it, as far as the user's mask allows.

    A link stays one, and the file it names is replaced; what is no file, such as /dev/null or a pipe, is
    written to as it is.

    Raises:
      OSError: the folder is missing, not writable or full; nothing is left behind.
    """
    path = Path(path).resolve()
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path | str) -> None:
    """Makes renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, kind: type = dict) -> Any:
    """The content of a JSON file.

    Raises:
      ValueError: it is not JSON, or holds something else than a `kind`.
      OSError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); was it cut short or edited?") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}; expected {JSON[kind]}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a dict as indented JSON, whole or not at all."""
    write_atomic(path, json.dumps(content, indent=1) + "\n")


def cache_folder() -> Path:
    """Where responses and hashes are kept: inside ISOFLOP_CACHE, or ~/.cache/isoflop."""
    root = Path(os.environ.get("ISOFLOP_CACHE") or Path.home() / ".cache/isoflop")
    return root / "evaluate"


def fingerprint(folder: Path) -> str:
    """sha256 of the files that decide what a checkpoint says: configuration, tokenizer, parameters."""
    files = [file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".model")]
    if (folder / "checkpoints").is_dir():
        steps = [step for step in (folder / "checkpoints").iterdir() if step.name.isdigit()]
        imported = [folder / name for name in ("tokenizer.json", "generation_config.json")]
        files = [folder / "config.json", *imported, *folder.glob("*.model")]
        files += [file for step in steps for file in (step / "params").rglob("*")]
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(f"{file.relative_to(folder)} {_sha256(file)}\n".encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    stat = file.stat()
    if stat.st_size < REMEMBERED:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    # Who replaces the content may keep size and mtime, as rsync does; ctime is set by the system alone.
    seen = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
    kept = cache_folder() / "hashes" / hashlib.sha256(seen.encode()).hexdigest()
    if not kept.is_file():
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, found)
    return kept.read_text()
