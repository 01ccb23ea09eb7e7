"""Capacity: bits of known facts that a model learns, by its size and how often it meets each.

1. grid: GPT-2-like networks of each width but the last on biographies of people, each met a number of times;
   the last width but one meets them most often.
2. verify: the largest width. A law of the share that is learnt, fitted to the grid, says before what it will
   come to.
3. compare: with the last width but one, under several seeds: what is met most often; the same network with a
   gated feed-forward layer; and an eighth as many people, the rest of the text being of people of each of
   whom there is one biography (junk), without and with a word in front that says which are which.

How much a network can hold is seen only where there is more to know, and where it is met often: set n_people
and most_exposures for that (768 and 1000 take 29 million tokens a run).
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources.biographies import BITS
from experiments.data.vocab import load_vocab
from experiments.data_configs import BiographiesConfig, DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.posttraining import laws
from experiments.studies.study import Stage, Study, check_statistics, prepared_corpora
from experiments.studies.trust.capacity import figures, measures
from experiments.study_report import write_findings
from models import TransformerConfig
from scaling.report import Picture
from scaling.table.runs import Runs

LAW = "capacity"
PAPER = {1000: 2.0, 100: 1.0}  # bits a parameter at so many exposures (arXiv 2404.05405)
FEW = 10  # biographies of a person in an epoch, each in other words
Corpora = Mapping[BiographiesConfig, DataConfig]


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    widths: the law is fitted to all but the last. n_people, exposures: each with each in the grid.
    most_exposures: of runs of the last width but one on the most people, one a seed.
    compared_exposures: of the runs of the third stage, on the fewest people; of those with junk a share of
    1 / (1 + junk) of them.
    """

    seed: int = 0
    n_seeds: int = 3
    widths: tuple[int, ...] = (16, 24, 32)
    n_people: tuple[int, ...] = (256,)
    exposures: tuple[int, ...] = (25, 50)
    most_exposures: int = 100
    compared_exposures: int = 50
    junk: int = 7
    lr: float = 1e-2
    rows: int = 2
    seq_len: int = 128
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if (len(self.widths) - 1) * len(self.n_people) * len(self.exposures) < 4 or self.n_seeds < 2:
            raise ValueError(
                "Settings: the law needs 4 runs or more, of widths but the last, n_people and exposures, and "
                "comparing n_seeds=2 or more"
            )


@dataclass(frozen=True)
class Run:
    """One run; kind: plain, most, gated, junk or source."""

    kind: str
    width: int
    corpus: BiographiesConfig
    exposures: int
    seed: int


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = {each.corpus: data_of(each.corpus) for stage in planned(settings) for each in stage}
    for stage in planned(settings):
        for each in stage:
            configure(settings, data, each)
    ready = functools.partial(_prepared, settings, data)
    return dataclasses.replace(build(settings, data), prepare=ready)


def _prepared(settings: Settings, data: Corpora) -> Study:
    return build(settings, prepared_corpora(data))


def build(settings: Settings, data: Corpora) -> Study:
    """The study on these data."""

    def stage(i: int):
        return lambda runs: [configure(settings, data, each) for each in planned(settings)[i]]

    def before(folder: Path, runs: Runs, configs: list[RunConfig]) -> None:
        predict(settings, data, folder)

    stages = (
        Stage("grid", stage(0)),
        Stage("verify", stage(1), before=before),
        Stage("compare", stage(2)),
    )
    summary = "bits of known facts that models learn by size and exposures; junk, sources, gates; a law"
    return Study("capacity", summary, settings, stages, functools.partial(finish, settings, data))


def data_of(corpus: BiographiesConfig) -> DataConfig:
    """The corpus with a vocabulary in which each of its words is a token."""
    vocab_size = 260 + measures.words_and_tokens(corpus)[0]
    return DataConfig("biographies", vocab="words", vocab_size=vocab_size, biographies=corpus)


def planned(settings: Settings) -> tuple[list[Run], list[Run], list[Run]]:
    """The runs of each stage."""
    corpora = [
        BiographiesConfig(n_people=n, exposures=(FEW,), questions=0.0, seed=settings.seed)
        for n in settings.n_people
    ]

    def grid(widths: Iterable[int]) -> list[Run]:
        return [
            Run("plain", width, corpus, exposures, settings.seed)
            for width in widths
            for corpus in corpora
            for exposures in settings.exposures
        ]

    width = settings.widths[-2]
    seeds = range(settings.seed, settings.seed + settings.n_seeds)
    most = [Run("most", width, corpora[-1], settings.most_exposures, seed) for seed in seeds]
    first = [*grid(settings.widths[:-1]), most[0]]
    useful = settings.n_people[0] // (1 + settings.junk)
    junk = dataclasses.replace(corpora[0], n_people=useful, n_junk=settings.junk * useful * FEW)
    kinds = {"plain": corpora[0], "gated": corpora[0], "junk": junk}
    kinds["source"] = dataclasses.replace(junk, source=True)
    compared = [
        Run(kind, width, corpus, settings.compared_exposures, seed)
        for kind, corpus in kinds.items()
        for seed in seeds
    ]
    return first, grid(settings.widths[-1:]), [each for each in (*most, *compared) if each not in first]


def configure(settings: Settings, data: Corpora, run: Run) -> RunConfig:
    """The run on these data: a GPT-2-like network with rope and tied embeddings, or gated, of as many
    parameters; packed rows."""
    heads, gated = max(1, run.width // 8), run.kind == "gated"
    corpus = data[run.corpus]
    network = TransformerConfig(
        vocab_size=corpus.vocab_size,
        d_model=run.width,
        n_layers=2,
        n_heads=heads,
        n_kv_heads=heads,
        d_head=run.width // heads // 2 * 2,
        d_ff=run.width * 8 // 3 if gated else run.width * 4,
        tied_embeddings=True,
        embedding_scale=run.width**0.5,  # what is looked up has unit size, though it is the head's, too
        gated=gated,
        activation="silu" if gated else "gelu",
    )
    batch_tokens = settings.rows * settings.seq_len
    return RunConfig(
        model=network,
        data=corpus,
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99, weight_decay=0.01),
        schedule=ScheduleConfig(name="cosine"),
        batch_tokens=batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=measures.words_and_tokens(run.corpus)[1] * run.exposures // FEW,
        seed=run.seed,
        n_val_tokens=2048,
    )


def measured(
    settings: Settings, data: Corpora, folder: Path, runs: Iterable[Run]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """A row of each run, and by run the bits that it has learnt of each person.

    Args:
      settings: of the study; data: its corpora.
      folder: of the study.
      runs: that are done.
    """
    rows, bits = [], {}
    for run in dict.fromkeys(runs):
        config = configure(settings, data, run)
        row, bits[config.run_id] = measures.learnt(
            *(folder / "runs" / config.run_id, config, load_vocab(config.data)),
            settings.level,
        )
        rows.append({"kind": run.kind, "exposures": run.exposures, "seed": run.seed} | row)
    return pd.DataFrame(rows), bits


def predict(settings: Settings, data: Corpora, folder: Path) -> None:
    """Fits the law to the grid, and writes down what it says of the largest width."""
    grid, largest, _ = planned(settings)
    table, _ = measured(settings, data, folder, grid)
    fit = laws.fit_law(table, LAW, settings.n_bootstrap, settings.level)
    about: list[dict[str, Any]] = []
    for run in largest:
        config = configure(settings, data, run)
        known = BITS * run.corpus.n_people
        about.append(
            {
                "run_id": config.run_id,
                "n_params": float(measures.used_parameters(config)),
                "known_bits": known,
            }
            | {"exposures": float(run.exposures)}
        )
    said = laws.with_predictions(pd.DataFrame(about), fit)
    write_json(folder / "fit.json", fit.to_json())
    write_json(folder / "prediction.json", {"level": settings.level, "rows": said.to_dict("records")})


def finish(settings: Settings, data: Corpora, folder: Path, runs: Runs) -> str:
    """Writes capacity.csv (a row a run), capacity.json and capacity.png, and says what was found.

    Args:
      settings: of the study; data: its corpora.
      folder: of the study; runs: all of its runs.
    """
    fit, (first, largest, compared) = laws.read_fit(folder / "fit.json"), planned(settings)
    table, bits = measured(settings, data, folder, [*first, *compared, *largest])
    table = laws.with_predictions(table, fit)
    verified = pd.DataFrame(table[table["d_model"] == settings.widths[-1]])
    with_seeds: Any = table[
        (table["d_model"] == settings.widths[-2])
        & (table["exposures"] == settings.compared_exposures)
        & (table["n_people"] <= settings.n_people[0])
    ]
    # By width, as parameters that are used depend on the corpus, too; gated layers have other ones.
    plain = pd.DataFrame(table[(table["kind"] == "plain") & (table["seed"] == settings.seed)])
    found = {
        "law": laws.parameters(fit),
        "highest": measures.highest(table, [*settings.exposures, settings.most_exposures]),
        "of_seeds": measures.of_seeds(table, settings.level),
        "compared": [measures.compare(with_seeds, *pair, bits) for pair in measures.COMPARED],
        "verify": laws.compare(plain, "d_model", "learnt_share", ["n_people", "exposures"])
        | {"rows": verified.to_dict("records")},
    }
    write_atomic(folder / "capacity.csv", table.to_csv(index=False))
    write_json(folder / "capacity.json", found)
    picture = Picture(
        "capacity",
        "Bits of facts that are learnt, by size and exposures",
        "Left: bits a parameter of each run, with the interval over people; dashed: the law, which has not "
        "seen the largest size. Right: bits of a person that the compared runs learnt, a point a seed.",
        figures.capacity(table, with_seeds, settings.widths[-1]),
    )
    write_findings(folder, [picture], {"capacity.csv": "Each run"})
    return measures.in_words(found, PAPER, settings.level, fit)
