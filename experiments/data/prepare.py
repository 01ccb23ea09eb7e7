"""Prepares data once: text to token cache. A no-op, without TensorFlow, where the cache is there already.

The work is done in a process of its own, so that TensorFlow never enters a process that trains.
"""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.cache import (
    FORMAT,
    SPLITS,
    Encoded,
    TokenCache,
    build_once,
    cache_root,
    is_whole,
    open_cache,
    read_manifest,
    write_manifest,
    write_split,
)
from experiments.data.cleaning import source as cleaned
from experiments.data.sources.left_out import Skipped, as_words, totals
from experiments.data.splits import READ
from experiments.data.tasks import (
    components_source,
    encode,
    find_task,
    language_modelling,
)
from experiments.data.vocabularies.training import is_tokenizer, make_vocabulary, vocabulary_identity
from experiments.data_configs import DataConfig
from experiments.fields import from_json, to_json
from experiments.files import user_code

PROGRESS = "progress: "  # begins a line of the process that prepares
PROGRESS_SECONDS = 0.5


def prepare(config: DataConfig, root: Path | str | None = None) -> Path:
    """The folder of the token cache for `config`, made now if it is not there or damaged.

    Args:
      root: folder of all caches; default: environment variable ISOFLOP_CACHE, else ~/.cache/isoflop.

    Raises:
      ValueError: the configuration, or the text it names, is wrong; or the text is not what
        `config.fingerprint` was taken from.
    """
    return prepare_all([config], root)[0]


def prepare_all(configs: Iterable[DataConfig], root: Path | str | None = None) -> list[Path]:
    """The folder of each of several token caches; those to be made are made by one process, since importing
    seqio takes longer than a small corpus. Arguments and errors are those of `prepare`."""
    configs, root = list(configs), cache_root(root)
    missing = [config for config in configs if find_cache(config, root) is None]
    if missing:
        _prepare_in_subprocess(missing, root)
    folders = []
    for config in configs:
        folder = find_cache(config, root) or root / cache_name(config)
        manifest = read_manifest(folder)
        if config in missing and (skipped := manifest.get("skipped")):
            print(f"data.task={config.task}: left out while reading: {as_words(skipped)}", file=sys.stderr)
        if config.fingerprint and config.fingerprint != manifest["fingerprint"]:
            raise ValueError(
                f"the data have changed since this was planned: data.fingerprint={config.fingerprint[:12]}… "
                f"but {folder} has {manifest['fingerprint'][:12]}…; bring the text (or the packages it comes "
                "from) back, or plan anew"
            )
        folders.append(folder)
    return folders


def open_splits(config: DataConfig) -> tuple[TokenCache, TokenCache]:
    """Training and validation split, prepared if they are not there yet; raises as `prepare` does."""
    folder = prepare(config)
    return open_cache(folder, "train"), open_cache(folder, "validation")


def find_cache(config: DataConfig, root: Path | str | None = None) -> Path | None:
    """The folder of a whole cache for `config`, or None: what `prepare` would have to make.

    Where `config.fingerprint` is given, a cache with just these tokens serves even if the text has changed
    since: a study that was begun goes on with the data it began with.

    Raises:
      ValueError: as `prepare`.
    """
    root = cache_root(root)
    if config.fingerprint:
        for folder in sorted(root.glob(f"{_in_file_names(config.task)}-*")):
            if is_whole(folder) and read_manifest(folder)["fingerprint"] == config.fingerprint:
                return folder
    folder = root / cache_name(config)
    return folder if is_whole(folder) else None


def cache_name(config: DataConfig) -> str:
    """Folder name of a cache: task, vocabulary, and a hash of all that decides what is in it. How often a run
    reads its components does not.

    Raises:
      ValueError: unknown task or vocabulary, a wrong vocabulary size, missing files.
    """
    identity = [FORMAT, config.task, vocabulary_identity(config), config.vocab_size, made_from(config)]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = "tokenizer" if is_tokenizer(config) else config.vocab
    vocab = name if name == "bytes" else f"{name}{config.vocab_size}"
    return f"{_in_file_names(config.task)}-{vocab}-{digest[:10]}"


def _in_file_names(task: str) -> str:
    return re.sub(r"[^\w.-]", "_", task)


def made_from(config: DataConfig) -> dict[str, Any]:
    """What decides the text of a corpus: its source, its components, and what is kept of it.

    Raises:
      ValueError: an unknown task or filter, missing files.
    """
    cleaning = cleaned.identity(config)
    return (
        find_task(config.task).identity(config)
        | ({"by": config.by} if config.by else {})
        | ({"cleaning": cleaning} if cleaning else {})
    )


def build(config: DataConfig, folder: Path) -> None:
    """Writes the whole cache into the empty `folder`. Imports TensorFlow.

    Raises:
      ValueError: the text cannot be read, or a split would be empty.
    """
    task = find_task(config.task)
    cleaning: dict[str, Any] = {}
    skipped: Skipped = {}
    if config.quality or config.duplicates:
        source, cleaning = cleaned.cleaned_source(config, skipped)
    elif config.has_components:
        source = components_source(config, skipped)
    else:
        source = task.source(config, skipped)
    vocabulary = make_vocabulary(config, source, folder)
    seqio_task = language_modelling(_in_file_names(config.task), source, vocabulary, config.has_components)
    dtype = np.dtype("<u2" if vocabulary.vocab_size <= 1 << 16 else "<u4")
    splits = {
        split: write_split(folder, split, _counted(encode(seqio_task, split)), dtype) for split in SPLITS
    }
    for split, info in splits.items():
        info["n_near_duplicates"] = (source.num_input_examples(split) or 0) - info["n_documents"]
    if not all(info["n_documents"] for info in splits.values()):
        counts = ", ".join(f"{split} {info['n_documents']}" for split, info in splits.items())
        raise ValueError(
            f"data.task={config.task}: too little text, a split is empty (documents: {counts}); by chance "
            "one document in 50 goes to validation and one to test: give some hundreds"
        )
    if config.has_components:
        _check_components(splits)
    first, eos_id = np.fromfile(folder / "validation" / "tokens.bin", dtype, 400).tolist(), vocabulary.eos_id
    manifest = {
        "task": config.task,
        "source": made_from(config),
        "licence": _licence(config),
        "tokenizer": {
            "name": "tokenizer.json" if is_tokenizer(config) else config.vocab,
            "size": int(vocabulary.vocab_size),
            "eos_id": eos_id,
            "sha256": _tokenizer_hash(folder),
        },
        "dtype": dtype.str,
        "splits": splits,
        "example": vocabulary.decode(first[: first.index(eos_id)] if eos_id in first else first),
    }
    manifest |= {"skipped": totals(skipped)} if skipped else {}
    manifest |= {"cleaning": cleaning} if cleaning else {}
    write_manifest(folder, manifest)


N_TOKENIZED = [0, 0]  # documents and tokens that this process has made so far


def _counted(pieces: Iterator[Encoded]) -> Iterator[Encoded]:
    for piece in pieces:
        N_TOKENIZED[0] += len(piece.lengths)
        N_TOKENIZED[1] += int(piece.lengths.sum())
        yield piece


def _say_progress(over: threading.Event) -> None:
    """Prints how far this process is, again and again."""
    began = time.monotonic()
    while not over.wait(PROGRESS_SECONDS):
        n_documents, n_tokens = N_TOKENIZED
        done = f"{READ[0]:,} documents read" if READ[0] else "reading"
        done += f", {n_documents:,} tokenized to {n_tokens:,} tokens" if n_documents else ""
        print(f"{PROGRESS}preparing data: {done}, {time.monotonic() - began:.0f} s", flush=True)


def _check_components(splits: dict[str, Any]) -> None:
    """Refuses components of which a split has nothing."""
    names = sorted(set().union(*(splits[split]["components"] for split in SPLITS)))
    for name in names:
        counts = {s: splits[s]["components"].get(name, {"n_documents": 0})["n_documents"] for s in SPLITS}
        if not all(counts.values()):
            found = ", ".join(f"{split} {n}" for split, n in counts.items())
            raise ValueError(
                f"component {name!r} is too small, a split of it is empty (documents: {found}); by chance "
                "one document in 50 goes to validation and one to test: give some hundreds, or leave it out"
            )


def _licence(config: DataConfig) -> str:
    """That of the task, or those of the tasks of the sources."""
    tasks = [source.task for source in config.sources] or [config.task]
    return "; ".join(dict.fromkeys(find_task(task).licence for task in tasks))


def _tokenizer_hash(folder: Path) -> str:
    """sha256 of the SentencePiece model or tokenizer.json, else of a text that defines byte tokens."""
    found = [folder / name for name in ("vocab.model", "tokenizer.json") if (folder / name).exists()]
    byte_tokens = b"0 padding, 1 end of sequence, 2 unknown, byte + 3"
    return hashlib.sha256(found[0].read_bytes() if found else byte_tokens).hexdigest()


def _prepare_in_subprocess(configs: list[DataConfig], root: Path) -> None:
    """Runs `main` in a fresh interpreter that sees no accelerator; its one-line errors are raised here. A
    terminal sees how far it is."""
    here, path = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")
    environment = os.environ | {
        "PYTHONPATH": f"{here}{os.pathsep}{path}" if path else here,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
    }
    asked = {"configs": [to_json(config) for config in configs], "root": str(root)}
    request = json.dumps(asked | {"code": user_code.given()})
    # -c and not -m: the workers that read docstrings would import a main module of a file once more.
    code = "import sys; from experiments.data.prepare import main; sys.exit(main(sys.argv[1]))"
    command = [sys.executable, "-P", "-c", code, request]
    last, shown = "", sys.stderr.isatty()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as done,
    ):
        assert done.stdout
        try:
            for line in done.stdout:
                if not line.startswith(PROGRESS):
                    last = line.rstrip("\n")
                elif shown:
                    words = line.removeprefix(PROGRESS).rstrip("\n")
                    print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)
        except BaseException:
            done.kill()
            raise
        finally:
            if shown:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
        code = done.wait()
        errors.seek(0)
        said = errors.read()
    if code == 2:
        raise ValueError(last)
    tasks = ", ".join(dict.fromkeys(config.task for config in configs))
    if code < 0:
        raise ChildProcessError(f"preparing data.task={tasks} was killed by signal {-code}")
    if code:
        raise RuntimeError(f"preparing data.task={tasks} failed:\n{said[-4000:]}")


def main(request: str) -> int:
    """Makes the caches that `request` (JSON: configs, root, code) asks for; if it cannot, prints why and
    returns 2."""
    values = json.loads(request)
    for given in values["code"]:
        user_code.run(given)
    root = Path(values["root"])
    over = threading.Event()
    threading.Thread(target=_say_progress, args=(over,), daemon=True).start()
    try:
        for value in values["configs"]:
            config = from_json(DataConfig, value)
            build_once(root / cache_name(config), is_whole, functools.partial(build, config))
    except ValueError as error:
        print(str(error).replace("\n", " "))
        return 2
    except OSError as error:
        print(f"token cache in {root} cannot be written: {error}; make room, or set ISOFLOP_CACHE elsewhere")
        return 2
    finally:
        over.set()
    return 0
