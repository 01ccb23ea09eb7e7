"""What the runs of the study of capacity have learnt, and how they compare."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import models
import scaling
from experiments.config import RunConfig
from experiments.data.sources.biographies import BITS, BOOK, people, records
from experiments.data.vocabularies.words import WORD
from experiments.data_configs import BiographiesConfig
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.statistics.intervals import mean
from experiments.evaluate.trust import knowledge
from experiments.studies.posttraining import laws
from experiments.training.checkpoints.load import load

MOST_ASKED = 512  # people that a run is asked about
COMPARED = (("plain", "gated"), ("plain", "junk"), ("source", "junk"))


@functools.cache
def words_and_tokens(biographies: BiographiesConfig) -> tuple[int, int]:
    """Different words of a corpus, and its tokens with the ends of documents, where each word is a token."""
    texts = [WORD.findall(document.text) for document in records(biographies)]
    return len({word for text in texts for word in text}), sum(len(text) + 1 for text in texts)


def used_parameters(config: RunConfig) -> int:
    """Those of tokens that occur, and of all else."""
    assert config.data.biographies
    n_used = words_and_tokens(config.data.biographies)[0] + 1  # and the end of a document
    counts = models.count(config.model)
    return knowledge.used_parameters(
        counts, config.model.d_model, config.model.vocab_size - n_used, tied=True
    )


_build = functools.cache(models.build)  # one program for all runs of a shape


def learnt(folder: Path, config: RunConfig, vocab: Any, level: float) -> tuple[dict[str, Any], np.ndarray]:
    """What a run has learnt (a row of the study's table), and its bits of each person that it was asked of.

    Args:
      folder: of the run.
      config: the run.
      vocab: its vocabulary.
      level: of intervals over people.
    """
    biographies = config.data.biographies
    assert biographies
    who, source = people(biographies)[:MOST_ASKED], BOOK if biographies.source else ""
    loaded = LoadedModel(folder, config, _build(config.model), load(folder)[1], vocab)
    trained = knowledge.fact_log_probabilities(loaded, who, "trained", source=source)
    held_out = knowledge.fact_log_probabilities(loaded, who, "held_out", source=source)
    bits_P = knowledge.learnt_bits(trained, who).sum(axis=1)
    names_P = knowledge.learnt_name_bits(loaded, who, source)
    known_bits, n_params = BITS * biographies.n_people, used_parameters(config)
    facts = mean(bits_P, level=level)
    both = mean(bits_P + names_P, level=level)
    per_param = biographies.n_people / n_params
    return {
        "run_id": config.run_id,
        "d_model": config.model.d_model,
        "n_params": n_params,
        "n_total": models.count(config.model).n_total,
        "n_people": biographies.n_people,
        "known_bits": known_bits,
        "bits_a_person": facts.value,
        "learnt_share": facts.value / BITS,
        "bits": facts.value * per_param,
        "bits_lo": facts.lo * per_param,
        "bits_hi": facts.hi * per_param,
        "bits_with_names": both.value * per_param,
        "bits_of_total": facts.value * biographies.n_people / models.count(config.model).n_total,
        "accuracy": float(knowledge.accuracy(trained, who).mean()),
        "held_out_bits_a_person": float(knowledge.learnt_bits(held_out, who).sum(axis=1).mean()),
    }, bits_P


def compare(table: pd.DataFrame, one: str, other: str, bits: dict[str, np.ndarray]) -> dict[str, Any]:
    """Bits a person of one kind of run over another's, in pairs of a seed: means, ratio, p of the difference
    (two-sided t of the seeds' differences), and how many seeds have it in the direction of the mean.

    Args:
      table: kind, seed, run_id.
      one, other: kinds of run.
      bits: by run, of each person.
    """
    rows: Any = table.sort_values(by="seed")
    by_kind = [rows.loc[rows["kind"] == kind, "run_id"] for kind in (one, other)]
    a, b = ([float(bits[run].mean()) for run in runs] for runs in by_kind)
    apart = np.subtract(a, b)
    t: Any = stats.ttest_1samp(apart, 0.0)
    ratio = float(np.mean(a) / np.mean(b)) if np.mean(b) > 0 else None
    return {
        **{
            "one": one,
            "other": other,
            "bits_of_one": a,
            "bits_of_other": b,
            "ratio": ratio,
            "p": float(t.pvalue),
        },
        "seeds_alike": int(np.sum(np.sign(apart) == np.sign(apart.mean()))),
    }


def of_seeds(table: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """Bits a parameter, names among them, of plain runs that differ by their seed alone: mean and Student's
    interval over seeds, of which there are two or more.

    Args:
      table: of the runs.
      level: of the intervals.
    """
    plain: Any = table[table["kind"].isin(["plain", "most"])]
    found = []
    for (n_params, n_people, exposures), rows in plain.groupby(["n_params", "n_people", "exposures"]):
        if len(rows) >= 2:
            bits = mean(rows["bits_with_names"].to_numpy() + 0.0, level=level)
            row = {"n_params": int(n_params), "n_people": int(n_people), "exposures": int(exposures)}
            found.append(row | {"bits": bits.value, "lo": bits.lo, "hi": bits.hi, "seeds": len(rows)})
    return found


def highest(table: pd.DataFrame, exposures: Sequence[float]) -> dict[float, dict[str, Any]]:
    """At each number of exposures the plain run of most bits a parameter."""
    plain: Any = table[table["kind"].isin(["plain", "most"])]
    found = {}
    for n in exposures:
        rows = plain[plain["exposures"] == n]
        if len(rows):
            found[n] = rows.loc[rows["bits"].idxmax()].to_dict()
    return found


def in_words(found: dict[str, Any], paper: dict[int, float], level: float, fit: scaling.Fit) -> str:
    """What was found.

    Args:
      found: capacity.json.
      paper: bits a parameter by exposures.
      level: of the intervals.
      fit: of the law.
    """
    lines = [f"learnt share = (1 + (known_bits / (c N))^p)^(-1/p): {laws.in_words(fit)}"]
    for exposures, row in found["highest"].items():
        lines.append(
            f"  {exposures:>5,} exposures: {row['bits']:.3f} [{row['bits_lo']:.3f}, {row['bits_hi']:.3f}] "
            f"bits a parameter, of {row['known_bits'] / row['n_params']:.2f} that there were to know"
            + (f" (the paper: {paper[exposures]:g})" if exposures in paper else "")
            + f"; {row['bits_with_names']:.3f} with names, {row['bits_of_total']:.3f} if tokens that never "
            f"occur count; accuracy {row['accuracy']:.0%}"
        )
    for row in found["of_seeds"]:
        lines.append(
            f"  {row['n_params']:,} parameters, {row['exposures']:,} exposures, {row['seeds']} seeds: "
            f"{row['bits']:.3f} [{row['lo']:.3f}, {row['hi']:.3f}] bits a parameter with names"
        )
    for each in found["compared"]:
        a, b = (np.mean(each[name]) for name in ("bits_of_one", "bits_of_other"))
        lines.append(
            f"  {each['one']} against {each['other']}: {a:.2f} and {b:.2f} bits a person, "
            f"p = {each['p']:.2g}, {each['seeds_alike']} of {len(each['bits_of_one'])} seeds"
        )
    verify = found["verify"]
    lines.append("of the largest width, predicted before it was trained (share of bits):")
    for row in verify["rows"]:
        about = f"{row['n_people']:>5,} people, {row['exposures']:>4,} exposures"
        lines.append(
            f"  {about}: predicted {row['predicted']:.3f} [{row['lo']:.3f}, {row['hi']:.3f}], measured "
            f"{row['learnt_share']:.3f}"
        )
    lines.append(
        f"  {verify['inside']:.0%} inside the {level:.0%} interval, {verify['rms_error']:.3f} off (RMS)"
    )
    return "\n".join(lines)
