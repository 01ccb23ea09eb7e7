"""Models whose text was sampled from other models: corpora made from checkpoints, and how far they are off.

A corpus is the token cache of a `ModelMadeConfig`. Its name follows from the configuration, so a run finds
it as it finds any other; it has to be made before, because it takes the checkpoints. Samples are drawn once
a run and kept beside the runs; which they are follows from the run.
"""

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import models
from experiments.config import RunConfig
from experiments.data.cache import (
    EOS,
    SPLITS,
    Encoded,
    build_once,
    cache_root,
    is_whole,
    open_cache,
    read_manifest,
    write_manifest,
    write_split,
)
from experiments.data.prepare import cache_name, made_from, open_splits, prepare
from experiments.data.sources.known_entropy import KNOWN_SOURCES, KnownSource
from experiments.data_configs import DataConfig, ModelMadeConfig
from experiments.files import write_atomic
from experiments.training.checkpoints.load import load
from models.decoding.rollout import rollout
from models.model import Model

FIRST_BYTE = 3  # the token of byte 0
ROWS = 1024  # documents of one program
MOST_DRAWS = 20  # times as many as are wanted, before a run counts as one that writes no documents


class GeneratedDocuments(NamedTuple):
    """What a run says: documents as symbols int[n, length], the nats that each is to the run [n], and the
    share of all that were drawn that have a document's form; the others are left out."""

    documents: np.ndarray
    nats: np.ndarray
    kept: float


# ---- Corpora -----------------------------------------------------------------------------------------------


def make_corpora(folder: Path, configs: list[RunConfig]) -> None:
    """Makes the corpora of runs from the checkpoints of the runs before them, where they are not there.

    Args:
      folder: of the study.
      configs: the runs, all of task "model_made".

    Raises:
      ValueError: a checkpoint that cannot be read, or fewer documents than are asked for.
    """
    for config in configs:
        made = config.data.model_made
        assert made is not None
        cache = cache_root() / cache_name(config.data)
        if not is_whole(cache):
            said = {run: sampled(folder, run, made.source, made.n_sampled).documents for run in made.runs}
            build_once(cache, is_whole, functools.partial(_build, config.data, said))


def real_documents(made: ModelMadeConfig) -> np.ndarray:
    """The real documents of a corpus, those to be rephrased behind the others, as symbols int[n, length].

    Raises:
      ValueError: the source has not as many.
    """
    known, end = KNOWN_SOURCES[made.source], made.first + made.n_real + made.n_rephrased
    documents = symbols_of(known, open_splits(DataConfig(task=made.source))[0].tokens)
    if end > len(documents):
        raise ValueError(
            f"model_made: documents up to {end:,} of {made.source}, which has {len(documents):,}"
        )
    return documents[made.first : end]


def training_documents(made: ModelMadeConfig, real: np.ndarray, said: Mapping[str, np.ndarray]) -> np.ndarray:
    """The documents of a corpus, as symbols int[n, length].

    Args:
      made: which.
      real: its `real_documents`.
      said: those of each run.

    Raises:
      ValueError: the source has nothing to rephrase.
    """
    natural, others = np.split(real, [made.n_real])
    parts = [natural, *(said[run][: made.n_sampled] for run in made.runs)]
    if len(others):
        rephrase = KNOWN_SOURCES[made.source].rephrase
        if rephrase is None:
            raise ValueError(f"model_made: {made.source} means nothing that could be said in other words")
        parts.append(rephrase(others))
    return np.concatenate(parts)


def _build(config: DataConfig, said: Mapping[str, np.ndarray], folder: Path) -> None:
    """Writes the token cache of a corpus."""
    made, dtype, splits = config.model_made, np.dtype("<u2"), {}
    assert made is not None
    known = KNOWN_SOURCES[made.source]
    base = prepare(DataConfig(task=made.source))
    for split in SPLITS:
        if split == "train":
            documents = training_documents(made, real_documents(made), said)
        else:
            documents = symbols_of(known, open_cache(base, split).tokens)
        rows = rows_of(known, documents)
        lengths = np.full(len(rows), known.row_length)
        n_bytes = np.full(len(rows), documents.size // len(rows))
        batch = Encoded(rows.ravel(), lengths, n_bytes, [""] * len(rows))
        splits[split] = write_split(folder, split, [batch], dtype)
    shared = {name: read_manifest(base)[name] for name in ("licence", "tokenizer", "example")}
    about = {"task": config.task, "source": made_from(config), "dtype": dtype.str, "splits": splits}
    write_manifest(folder, shared | about)


def symbols_of(source: KnownSource, tokens: np.ndarray) -> np.ndarray:
    """Documents as symbols int[n, length], of tokens int[n * row_length]."""
    return tokens.reshape(-1, source.row_length)[:, :-1].astype(int) - FIRST_BYTE - ord(source.first)


def rows_of(source: KnownSource, documents: np.ndarray) -> np.ndarray:
    """Tokens int[n, row_length] of documents int[n, length], each with its end."""
    return np.pad(documents + FIRST_BYTE + ord(source.first), ((0, 0), (0, 1)), constant_values=EOS)


# ---- Samples -----------------------------------------------------------------------------------------------


def sampled(folder: Path, run: str, source: str, n: int) -> GeneratedDocuments:
    """n documents that a run says, drawn now if they were not before.

    Args:
      folder: of the study.
      run: its id.
      source: that all its text goes back to.
      n: how many, the same for all corpora of a study.

    Raises:
      ValueError: no checkpoint that can be read, or hardly any document among what it says.
    """
    path = folder / "samples" / f"{run}.npz"
    if path.is_file():
        with np.load(path) as found:
            if len(found["documents"]) >= n:
                kept = float(found["kept"])
                return GeneratedDocuments(found["documents"][:n].astype(int), found["nats"][:n], kept)
    samples = draw_documents(folder / "runs" / run, source, n)
    file = io.BytesIO()
    np.savez_compressed(file, **samples._replace(documents=samples.documents.astype(np.uint8))._asdict())
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, file.getvalue())
    return samples


def draw_documents(run: Path, source: str, n: int) -> GeneratedDocuments:
    """n documents of a run at temperature 1, those without a document's length or with foreign symbols left
    out; the k-th of them is the same whatever n is.

    In rows of whole documents a first symbol is read after the end of another document and all others with
    nothing before them, so that is how they are drawn: the first one after a real document.

    Raises:
      ValueError: no checkpoint that can be read, or hardly any document among what it says.
    """
    known = KNOWN_SOURCES[source]
    config, params = load(run)
    say = _speaker(models.build(config.model), known.row_length)
    before = np.resize(validation_rows(source), (ROWS, known.row_length))
    documents, nats, drawn = [], [], 0
    while sum(map(len, documents)) < n:
        if drawn >= MOST_DRAWS * max(n, ROWS):
            raise ValueError(f"{run} hardly says a document of {known.length} symbols; train it for longer")
        seeds = np.random.SeedSequence(drawn // ROWS).generate_state(ROWS, np.uint32)
        rows, each = jax.device_get(say(params, before, seeds))
        found = symbols_of(known, rows)
        whole = (found >= 0) & (found < known.n_symbols)
        good = whole.all(axis=1) & (rows[:, -1] == EOS)
        documents.append(found[good])
        nats.append(each[good])
        drawn += ROWS
    kept = sum(map(len, documents)) / drawn
    return GeneratedDocuments(np.concatenate(documents)[:n], np.concatenate(nats)[:n], kept)


@functools.cache
def _speaker(model: Model, row_length: int) -> Any:
    @jax.jit
    def say(params, before_BT, seeds_B):
        """Rows of tokens int32[B,T] and their nats [B]."""
        logits_BV = model.apply(params, before_BT)[:, -1]
        keys_B = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), 1))(seeds_B)
        first_B = jax.vmap(jax.random.categorical)(keys_B, logits_BV)
        logp_B = jnp.take_along_axis(jax.nn.log_softmax(logits_BV), first_B[:, None], axis=1)[:, 0]
        ones_B = jnp.ones(len(first_B), jnp.int32)
        rest = rollout(model, params, first_B[:, None], ones_B, seeds_B, row_length - 1, EOS)
        return rest.tokens_BT, -logp_B - rest.logps_BT.sum(axis=1)

    return say


# ---- How far off a run is ----------------------------------------------------------------------------------


def validation_rows(source: str) -> np.ndarray:
    """Tokens int32[n, row_length] of the real documents that no run is trained on."""
    tokens = open_splits(DataConfig(task=source))[1].tokens
    return tokens.reshape(-1, KNOWN_SOURCES[source].row_length).astype(np.int32)


def excess(run: Path, source: str, n: int) -> np.ndarray:
    """(nats to the run less nats to the source, nats to the source) of real validation documents [2, m].

    The first's mean is an unbiased estimate of the divergence of the run from the source, nats a document.

    Args:
      run: its folder.
      source: of the documents.
      n: at most so many of them.
    """
    config, params = load(run)
    rows = validation_rows(source)[: n + 2]
    # The last symbol that a row predicts is the first of the next document: it counts as that one's.
    inputs, targets = rows[:-1], np.concatenate([rows[:-1, 1:], rows[1:, :1]], axis=1)
    nats = np.asarray(_nats(models.build(config.model), params, inputs, targets))
    rest, first = nats[1:, :-1].sum(axis=1), nats[:-1, -1]
    known = KNOWN_SOURCES[source]
    truth = known.nats(symbols_of(known, rows[1:-1]))
    return np.stack([rest + first - truth, truth])


@functools.partial(jax.jit, static_argnums=0)
def _nats(model: Model, params, inputs_BT, targets_BT):
    logp_BTV = jax.nn.log_softmax(model.apply(params, inputs_BT))
    return -jnp.take_along_axis(logp_BTV, targets_BT[..., None], axis=-1)[..., 0]
