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
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.batches import validation_batches
from experiments.data.prepare import open_splits
from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data import ideal_learners
from experiments.studies.study import Stage, Study, check_statistics, prepared_data
from models import ladder
from scaling.table.runs import Runs, check

FIRST_BYTE = 3  # the token of byte 0
# Grids of ideal learners: PER_GRID numbers of skills and of tokens, from these to 8 times as many, and
# further by each reach; tokens by its power of 3/2, so that neither limit hides the other.
LEAST_SKILLS, LEAST_TOKENS, PER_GRID = 8, 2e4, 6
REACHES = (1, 8, 64, 1024)
LEARNERS_NOISE, LEARNERS_DRAWS = 1e-3, 100


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs of a width share their steps up to the decay of the rate."""

    seed: int = 0
    n_seeds: int = 3
    sources: tuple[str, ...] = tuple(KNOWN_SOURCES)
    widths: tuple[int, ...] = (8, 16, 24, 32, 48)
    n_tokens: tuple[int, ...] = (200_000, 400_000, 800_000, 1_600_000)
    lr: float = 1e-2
    n_val_tokens: int = 65_536
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
    return dataclasses.replace(
        built, prepare=lambda: build(settings, {name: prepared_data(each) for name, each in data.items()})
    )


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
    """Writes known_entropy.csv (a row a run), known_entropy.json, and says what was found.

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
    """Slopes of the log excess by log size and log tokens, and what they leave (root mean square)."""
    x = np.stack([np.ones(len(rows)), np.log(rows["n_params"]), np.log(rows["n_tokens"])], axis=1)
    excess = rows["excess"].to_numpy(float)
    above = excess > 0
    y = np.log(excess[above])
    theta = np.linalg.lstsq(x[above], y, rcond=None)[0]
    rms = float(np.sqrt(np.mean((y - x[above] @ theta) ** 2)))
    return {
        "source": source,
        "n_exponent": -float(theta[1]),
        "d_exponent": -float(theta[2]),
        "rms": rms,
        "least": float(excess.min()),
        "below": int((~above).sum()),
    }


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
        own = [each for each in found["networks"] if each["source"] == name]
        inside = sum(holds(each) for each in own if each["seed"] != "all")
        pooled = own[-1]
        yield (
            f"{name}: entropy {pooled['truth']:.4f} nats a token, fitted E {pooled['E']:.4f} "
            f"[{pooled['lo']:.4f}, {pooled['hi']:.4f}]; inside the interval for {inside} of "
            f"{len(own) - 1} seeds; {pooled['status']}"
        )
        verdict = (
            "no model is below the entropy" if law["below"] == 0 else f"{law['below']} below the entropy"
        )
        yield (
            f"  excess ~ N^-{law['n_exponent']:.2f} D^-{law['d_exponent']:.2f} within {law['rms']:.0%}; "
            f"the least is {law['least']:.4f}: {verdict}"
        )
    yield "learners whose loss is exact, by the reach of their grid:"
    for about, group in itertools.groupby(
        found["ideal_learners"], lambda each: (each["learner"], each["n_skills"], each["n_tokens"])
    ):
        (learner, skills, tokens), each = about, list(group)
        inside = sum(map(holds, each))
        off = float(np.median([row["E"] - row["truth"] for row in each]))
        width = float(np.median([row["hi"] - row["lo"] for row in each]))
        yield (
            f"  {learner}, to {skills:g} skills and {tokens:.2g} tokens: E off by {off:+.4f}, "
            f"interval {width:.4f} wide, holds the truth {inside} of {len(each)} times"
        )


def holds(row: dict[str, Any]) -> bool:
    """Whether the interval holds the truth."""
    return row["lo"] <= row["truth"] <= row["hi"]
