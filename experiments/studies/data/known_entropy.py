"""Does a fit find the irreducible loss? Models of text whose entropy is known, and learners without networks.

1. ladder: models of several widths and lengths on each source, under several seeds.
2. at the end: E of the law, fitted to each source and seed, against the truth; the law of the excess over it;
   and how far grids of learners whose loss is known exactly must reach until E is found.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.batches import validation_batches
from experiments.data.prepare import open_splits
from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data import figures, ideal_learners
from experiments.studies.study import Stage, Study, check_statistics, prepared_corpora
from experiments.study_report import write_findings
from models import ladder
from scaling.report import Picture
from scaling.table.runs import Runs, check

FIRST_BYTE = 3  # the token of byte 0
# Grids of ideal learners: PER_GRID numbers of skills and of tokens, from these to 8 times as many, and
# further by each reach; tokens by its power of 3/2, so that neither limit hides the other.
LEAST_SKILLS, LEAST_TOKENS, PER_GRID = 8, 2e4, 6
REACHES = (1, 8, 64, 1024)
WITHIN = 0.01  # of the entropy: what "close" means
LEARNERS_NOISE, LEARNERS_DRAWS = 1e-3, 100


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs of a width share their steps up to the decay of the rate."""

    seed: int = 0
    n_seeds: int = 3
    sources: tuple[str, ...] = ("zipf_skills", "markov", "grammar")
    widths: tuple[int, ...] = (8, 16, 24, 32)
    n_tokens: tuple[int, ...] = (50_000, 100_000, 200_000, 400_000)
    lr: float = 1e-2
    n_val_tokens: int = 32_768
    n_bootstrap: int = 300
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        unknown = set(self.sources) - set(KNOWN_SOURCES)
        if unknown or not self.sources:
            raise ValueError(f"Settings.sources={list(self.sources)}; there are {', '.join(KNOWN_SOURCES)}")
        if self.n_seeds < 1:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; it must be at least 1")
        if len(self.widths) * len(self.n_tokens) < 6:
            raise ValueError("Settings: the law needs 6 runs or more, of several widths and n_tokens")

    @property
    def seeds(self) -> range:
        """Those of the runs."""
        return range(self.seed, self.seed + self.n_seeds)


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = {name: DataConfig(task=name) for name in settings.sources}
    plan(settings, data)
    built = build(settings, data)
    return dataclasses.replace(built, prepare=lambda: build(settings, prepared_corpora(data)))


def build(settings: Settings, data: dict[str, DataConfig]) -> Study:
    """The study on these data, by source."""
    stages = (Stage("ladder", lambda runs: [config for _, config in plan(settings, data)]),)
    summary = "is the fitted irreducible loss the entropy of the text? Sources whose entropy is known"
    return Study("known_entropy", summary, settings, stages, functools.partial(finish, settings, data))


def plan(settings: Settings, data: dict[str, DataConfig]) -> list[tuple[str, RunConfig]]:
    """(source, run) of every width and length, under every seed."""
    return [
        (name, configure(settings, data[name], KNOWN_SOURCES[name].row_length, width, n_tokens, seed))
        for name in settings.sources
        for seed in settings.seeds
        for width in settings.widths
        for n_tokens in settings.n_tokens
    ]


def configure(
    settings: Settings, data: DataConfig, row_length: int, width: int, n_tokens: int, seed: int
) -> RunConfig:
    """One run, in batches of 16 documents.

    Args:
      settings: of the study.
      data: the source's.
      row_length: tokens of a document with its end.
      width: of the model.
      n_tokens: to train on.
      seed: of the run.
    """
    return RunConfig(
        model=ladder(width, data.vocab_size),
        data=data,
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=16 * row_length * 20),
        batch_tokens=16 * row_length,
        seq_len=row_length,
        n_tokens=n_tokens,
        seed=seed,
        n_val_tokens=settings.n_val_tokens,
    )


def ideal_loss(config: RunConfig, source: str) -> float:
    """The loss of the true probabilities on the validation rows of a run, nats a token.

    Its difference from a model's loss has far less noise than that loss less the entropy. A row's last token
    is the first of the next document, so that the documents are those of the rows but for one symbol.
    """
    known = KNOWN_SOURCES[source]
    tokens = open_splits(config.data)[1].tokens
    batches = validation_batches(tokens, config.batch_size, config.seq_len, config.n_val_tokens)
    documents = np.concatenate(batches)[:, : known.length] - FIRST_BYTE - ord(known.first)
    return float(known.nats(documents).mean()) / known.row_length


def finish(settings: Settings, data: dict[str, DataConfig], folder: Path, runs: Runs) -> str:
    """Writes known_entropy.csv (a row a run), .json and .png, and says what was found.

    Args:
      settings: of the study; data: by source.
      folder: of the study; runs: all of its runs.
    """
    table = measured(settings, data, runs)
    write_atomic(folder / "known_entropy.csv", table.to_csv(index=False))
    found = {
        "networks": list(fitted(settings, table)),
        "excess": [excess_law(name, rows) for name, rows in table.groupby("source", sort=False)],
        "ideal_learners": list(reaches(settings)),
    }
    write_json(folder / "known_entropy.json", found)
    picture = Picture(
        "known_entropy",
        "Loss and fitted E against the entropy",
        "Above, networks on each source. Dashed: the entropy; shaded: the interval of E fitted to all seeds. "
        "Below, E with its interval for learners whose loss is known exactly, by the grid; fits that ended "
        "at a bound may lie outside.",
        figures.known_entropy(table, found),
    )
    write_findings(folder, [picture])
    return "\n".join(in_words(found))


def measured(settings: Settings, data: dict[str, DataConfig], runs: Runs) -> pd.DataFrame:
    """source, seed, n_params, n_tokens, loss, ideal and excess of every run that is done."""
    records = runs.table.loc[runs.table.status == "done"].to_dict("records")
    done = {run["run_id"]: run for run in records}
    ideal: dict[str, float] = {}
    rows = []
    for name, config in plan(settings, data):
        if run := done.get(config.run_id):
            if name not in ideal:
                ideal[name] = ideal_loss(config, name)
            about = {"source": name, "seed": config.seed, "d_model": config.model.d_model}
            about |= {column: float(run[column]) for column in ("n_params", "n_tokens", "flops", "loss")}
            rows.append(about | {"ideal": ideal[name], "excess": about["loss"] - ideal[name]})
    return pd.DataFrame(rows)


def fitted(settings: Settings, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """E of the law for each source and seed, and for all seeds of a source, beside the truth."""
    for name, rows in table.groupby("source", sort=False):
        for seed, part in [*rows.groupby("seed"), ("all", rows)]:
            rows_of_law = part[["n_params", "n_tokens", "flops", "loss"]]
            found = irreducible(rows_of_law, settings.n_bootstrap, settings.level)
            yield {"source": name, "seed": seed, "truth": float(rows["ideal"].iloc[0])} | found


def irreducible(table: pd.DataFrame, n_bootstrap: int, level: float) -> dict[str, Any]:
    """E of Chinchilla's law with its interval, and the status of the fit."""
    fit = scaling.fit(check(table, {}), n_bootstrap=n_bootstrap, level=level)
    lo, hi = fit.ci["E"]
    return {"E": fit.params["E"], "lo": lo, "hi": hi, "status": fit.status}


def excess_law(source: Any, rows: pd.DataFrame) -> dict[str, Any]:
    """Slopes of the log excess by log size and log tokens, what they leave (root mean square), and the slopes
    of each seed."""
    above = pd.DataFrame(rows[rows["excess"] > 0])
    slopes, rms = slopes_of(above)
    by_seed = [slopes_of(part)[0] for _, part in above.groupby("seed")] if "seed" in rows else [slopes]
    return {
        "source": source,
        "n_exponent": -slopes[0],
        "d_exponent": -slopes[1],
        "by_seed": [[-slope for slope in each] for each in by_seed],
        "rms": rms,
        "least": float(rows["excess"].to_numpy(float).min()),
        "below": len(rows) - len(above),
    }


def slopes_of(rows: pd.DataFrame) -> tuple[list[float], float]:
    """(slopes of the log excess by log size and log tokens, root mean square of what they leave)."""
    x = np.stack([np.ones(len(rows)), np.log(rows["n_params"]), np.log(rows["n_tokens"])], axis=1)
    y = np.log(rows["excess"].to_numpy(float))
    theta = np.linalg.lstsq(x, y, rcond=None)[0]
    return theta[1:].tolist(), float(np.sqrt(np.mean((y - x @ theta) ** 2)))


def further(law: dict[str, Any], entropy: float) -> float:
    """How many times larger, and longer, than that of the least excess a run must be for an excess of WITHIN
    of the entropy: by the law of the excess, which is a guess so far out."""
    together = law["n_exponent"] + law["d_exponent"]
    if law["least"] <= WITHIN * entropy:
        return 1.0
    return (law["least"] / (WITHIN * entropy)) ** (1 / together) if together > 0 else float("inf")


def reaches(settings: Settings) -> Iterator[dict[str, Any]]:
    """E fitted to grids of ideal learners that reach further and further, each under every seed."""
    for learner, reach, seed in itertools.product(ideal_learners.LEARNERS, REACHES, settings.seeds):
        skills = np.geomspace(LEAST_SKILLS, 8 * LEAST_SKILLS * reach, PER_GRID).round()
        tokens = np.geomspace(LEAST_TOKENS, 8 * LEAST_TOKENS * reach**1.5, PER_GRID)
        table = ideal_learners.grid(learner, skills, tokens, LEARNERS_NOISE, seed)
        about = {"learner": learner, "n_skills": skills[-1], "n_tokens": tokens[-1], "seed": seed}
        found = irreducible(table, LEARNERS_DRAWS, settings.level)
        yield about | {"truth": ideal_learners.ENTROPY} | found


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """What the study says, a line each."""
    for law in found["excess"]:
        name = law["source"]
        *own, pooled = [each for each in found["networks"] if each["source"] == name]
        sure = [each for each in own if each["status"] == "converged"]
        yield (
            f"{name}: entropy {pooled['truth']:.4f} nats a token, fitted E {pooled['E']:.4f} "
            f"[{pooled['lo']:.4f}, {pooled['hi']:.4f}]; {pooled['status']}"
        )
        yield (
            f"  of {len(own)} seeds by themselves {len(sure)} determine E, and the interval of "
            f"{sum(map(holds, sure))} of these holds the entropy"
        )
        of_n, of_d = (f"{min(each):.2f} to {max(each):.2f}" for each in zip(*law["by_seed"]))
        below = f"{law['below']} below" if law["below"] else "no model is below"
        yield (
            f"  excess ~ N^-{law['n_exponent']:.2f} D^-{law['d_exponent']:.2f} (seeds {of_n}, {of_d}) within "
            f"{law['rms']:.0%}; {below} the entropy, the least excess is {law['least']:.4f}; one of "
            f"{WITHIN:.0%} of it takes models and texts {further(law, pooled['truth']):.2g} times as large"
        )
    yield "learners whose loss is exact, by the reach of their grid:"
    for about, group in itertools.groupby(
        found["ideal_learners"], lambda each: (each["learner"], each["n_skills"], each["n_tokens"])
    ):
        (learner, skills, tokens), each = about, list(group)
        off = [row["E"] - row["truth"] for row in each]
        width = float(np.median([row["hi"] - row["lo"] for row in each]))
        sure = [row for row in each if row["status"] == "converged"]
        yield (
            f"  {learner}, to {skills:g} skills and {tokens:.2g} tokens: E off by {min(off):+.4f} to "
            f"{max(off):+.4f}, interval {width:.4f} wide; {len(sure)} of {len(each)} fits determine E, "
            f"{sum(map(holds, sure))} hold the truth"
        )


def holds(row: dict[str, Any]) -> bool:
    """Whether the interval holds the truth."""
    return row["lo"] <= row["truth"] <= row["hi"]
