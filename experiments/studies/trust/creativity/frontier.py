"""Quality against diversity: samples of models of a known source under a grid of samplers."""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

import models
from experiments.config import RunConfig
from experiments.data.sources.known_entropy import KNOWN_SOURCES, KnownSource
from experiments.evaluate.statistics import intervals
from experiments.evaluate.trust import diversity, novelty
from experiments.training.checkpoints.load import load
from experiments.training.objectives import data_of
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings

FIRST_BYTE, EOS = 3, 1  # tokens of byte 0 and of the end
DRAWN = 200_000  # documents of the source, for what has no closed form
BASE = "temperature"  # the sampler that others are compared with


def grid(
    temperatures: tuple[float, ...], truncations: dict[str, tuple[float, ...]], hot: float
) -> list[tuple[str, float, SamplingSettings]]:
    """(sampler, its number, settings): temperature alone, and each truncation at temperature 1 and `hot`.

    Args:
      temperatures: of the first.
      truncations: field of SamplingSettings -> its values.
      hot: a temperature above 1.
    """
    found = [(BASE, t, SamplingSettings(temperature=t)) for t in temperatures]
    for temperature, (field, values) in itertools.product((1.0, hot), truncations.items()):
        name = field.replace("_", "-") + (f" at {temperature:g}" if temperature != 1 else "")
        for value in values:
            settings = SamplingSettings(temperature=temperature, **{field: value})  # type: ignore
            found.append((name, value, settings))
    return found


def documents_said(
    run: Path, source: str, settings: SamplingSettings, n: int, seed: int
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """n documents as tokens, and minus their log-probability under the sampler [n], in nats.

    The first symbol is that of a fresh document of the source: rows that models are trained on begin with it,
    so nothing that they have read stands before it. It counts as said, with no nats.

    Args:
      run: folder of the checkpoint.
      source: one of KNOWN_SOURCES.
      settings: of sampling.
      n: documents.
      seed: of the first symbols and of the samples.
    """
    known, (config, params) = KNOWN_SOURCES[source], _loaded(run)
    first = known.draw(np.random.default_rng(seed), n)[:, :1] + FIRST_BYTE + ord(known.first)
    said = sample(
        *(models.build(config.model), params, first.tolist(), list(range(n)), settings),
        max_tokens=known.length,
        eos_id=EOS,
        width=n,
    )
    texts = [(*start, *one.tokens) for start, [one] in zip(first.tolist(), said)]
    return texts, np.array([-sum(one.sampling_logprobs) for [one] in said])


_loaded = functools.lru_cache(maxsize=1)(load)


def nats_of(known: KnownSource, texts: list[tuple[int, ...]]) -> np.ndarray:
    """Minus the exact log-probability of texts [n] in nats; inf of what is no document of the source."""
    least = FIRST_BYTE + ord(known.first)
    symbols = range(least, least + known.n_symbols)
    whole = [
        i
        for i, text in enumerate(texts)
        if len(text) == known.row_length and text[-1] == EOS and all(token in symbols for token in text[:-1])
    ]
    nats = np.full(len(texts), np.inf)
    nats[whole] = known.nats(np.array([texts[i][:-1] for i in whole], int).reshape(-1, known.length) - least)
    return nats


class Training(NamedTuple):
    """The documents that a run was trained on, as tokens without the end, and their suffixes."""

    documents: frozenset[tuple[int, ...]]
    suffixes: novelty.SuffixArray


def training_of(config: RunConfig) -> Training:
    """What a run was trained on."""
    data, rows = data_of(config), slice(0, config.batch_size)
    steps = (data.training(config.seed, step, rows) for step in range(config.n_steps))
    read = np.concatenate([batch[:, : config.seq_len - 1] for batch in steps])
    return Training(frozenset(map(tuple, read.tolist())), novelty.suffix_array(list(read)))


def measured(
    known: KnownSource, texts: list[tuple[int, ...]], nats: np.ndarray, training: Training
) -> dict[str, float]:
    """valid: share of documents of the source; nats: mean over these, to the source; entropy: of the sampler,
    nats a document after its first symbol; creative: share of different valid documents that the run has not
    read; diverse: 1 - self-BLEU; and what `diversity.measures` and `novelty.measures` say.

    Args:
      known: the source.
      texts: tokens with the end, as `documents_said`.
      nats: of each to the sampler.
      training: of the run.
    """
    exact, bodies = nats_of(known, texts), [text[: known.length] for text in texts]
    valid = np.isfinite(exact)
    new = {body for body, good in zip(bodies, valid) if good} - training.documents
    about = {"valid": float(valid.mean()), "entropy": float(nats.mean()), "creative": len(new) / len(texts)}
    about["nats"] = float(exact[valid].mean()) if valid.any() else np.nan
    about = diversity.measures(bodies) | about  # the entropy is that of all samples, not of how they repeat
    about["diverse"] = 1 - about["self_bleu"]
    return about | novelty.measures(training.suffixes, bodies)


def of_source(known: KnownSource, n: int, training: Training) -> dict[str, float]:
    """The same of n fresh documents of the source itself; its entropy is exact but for the first symbol's,
    which is counted in many documents.

    Args:
      known: the source.
      n: as many as of each sampler.
      training: of a run.
    """
    shift = FIRST_BYTE + ord(known.first)
    texts = [(*row, EOS) for row in (known.draw(np.random.default_rng(1), n) + shift).tolist()]
    first = np.bincount(known.draw(np.random.default_rng(2), DRAWN)[:, 0]) / DRAWN
    of_first = float(-np.sum(first[first > 0] * np.log(first[first > 0])))
    return measured(known, texts, np.full(n, known.entropy - of_first), training)


def at_equal(table: pd.DataFrame, across: str, up: str, levels: np.ndarray) -> pd.DataFrame:
    """A row a model, sampler and level of `across`: what `up` is there, between settings in a straight line,
    and "gain", what it is above that of temperature alone. Levels that a curve does not reach are left out.

    Args:
      table: run_id, sampler, and the columns that are named.
      across: such as entropy.
      up: such as valid.
      levels: of `across`.
    """
    rows: list[dict[str, Any]] = []
    curves: Any = table.groupby(["run_id", "sampler"], sort=False)
    for (run, sampler), curve in curves:
        x, y = curve.sort_values(across)[[across, up]].to_numpy(float).T
        inside = [level for level in levels if x[0] <= level <= x[-1]]
        rows += [
            {"run_id": run, "sampler": sampler, "level": level, up: float(np.interp(level, x, y))}
            for level in inside
        ]
    found = pd.DataFrame(rows)
    base = found[found["sampler"] == BASE].drop(columns="sampler")
    joined = found[found["sampler"] != BASE].merge(base, on=["run_id", "level"], suffixes=("", "_base"))
    return joined.assign(gain=joined[up] - joined[f"{up}_base"])


def gains(at: pd.DataFrame, level: float) -> Iterator[dict[str, Any]]:
    """Of each sampler and level: mean gain over models with its interval and p (Student's, paired by model).

    Args:
      at: of `at_equal`.
      level: of the intervals.
    """
    cells: Any = at.groupby(["sampler", "level"], sort=False)
    for (sampler, where), rows in cells:
        yield {"sampler": sampler, "at": where} | paired(rows["gain"].to_numpy(float), level)


def paired(differences: np.ndarray, level: float) -> dict[str, float]:
    """mean, lo, hi and p of differences [models], and n; NaN where there is one only."""
    if len(differences) < 2:
        return {"mean": float(np.mean(differences)), "lo": np.nan, "hi": np.nan, "p": np.nan, "n": 1}
    found = intervals.mean(differences, level=level)
    t: Any = stats.ttest_1samp(differences, 0.0)
    p = float(t.pvalue) if differences.std() else np.nan
    return {"mean": found.value, "lo": found.lo, "hi": found.hi, "p": p, "n": len(differences)}


def best(table: pd.DataFrame, up: str) -> pd.DataFrame:
    """A row a model and sampler: `up` at the setting that is best for the other seeds of its size, so that a
    sampler with more settings has no advantage from noise; "gain" over temperature alone.

    Args:
      table: run_id, d_model, seed, sampler, number, and `up`.
      up: such as creative.
    """
    rows = []
    for _, each in table.groupby(["d_model", "sampler"], sort=False):
        for seed, own in each.groupby("seed"):
            others: Any = each[each["seed"] != seed].groupby("number")[up].mean()
            number = others.idxmax()
            row = own[own["number"] == number].iloc[0]
            rows.append({name: row[name] for name in ("run_id", "d_model", "seed", "sampler", "number", up)})
    found = pd.DataFrame(rows)
    base = found.loc[found["sampler"] == BASE, ["run_id", up]]
    joined = found.merge(base, on="run_id", suffixes=("", "_base"))
    return joined.assign(gain=joined[up] - joined[f"{up}_base"])
