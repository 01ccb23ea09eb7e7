"""Generations of models, each trained on what the one before it says: what is lost, and what keeps it.

1. generation 1: a model on real text, whose entropy is known; and models on the same text of which a share is
   said in other words (Maini et al. 2024, arXiv 2401.16380), or that is read for longer.
2. a stage a generation: *replace* trains on samples of the last generation, or on some and a share of the
   first one's real text (Shumailov et al. 2024, arXiv 2305.17493); *accumulate* on the real text and those of
   all generations, for as many epochs (Gerstgrasser et al. 2024, arXiv 2404.01413), or for as many steps as
   the others (Kazdan et al. 2024, arXiv 2410.16713).
After the second generation it is written down what theory says of the last one (collapse.py).

The error of a model is known but for the number of documents: their nats to it less their nats to the source.
"""

import dataclasses
import functools
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.data_configs import DataConfig, ModelMadeConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data import figures
from experiments.studies.data.model_made import collapse, generations
from experiments.studies.data.model_made.collapse import ACCUMULATE, EQUAL_STEPS, replace
from experiments.studies.study import Stage, Study, check_statistics, prepared_data
from models import ladder
from scaling.table.runs import Runs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    n_documents: of real text, and of each generation's samples. n_generations: with that on real text.
    real_shares: of the documents, under replace. rephrased: shares of the documents that are said in other
      words, where the source can be. longer: times `n_tokens`, on real text.
    """

    seed: int = 0
    n_seeds: int = 3
    source: str = "zipf_skills"
    n_documents: int = 1024
    n_generations: int = 5
    real_shares: tuple[float, ...] = (0.0, 0.1, 1.0)
    rephrased: tuple[float, ...] = (0.25, 0.5, 1.0)
    longer: tuple[int, ...] = (2,)
    width: int = 16
    n_tokens: int = 200_000
    batch_rows: int = 8
    lr: float = 1e-2
    n_measured: int = 1024
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level)
        if self.source not in KNOWN_SOURCES:
            raise ValueError(f"Settings.source={self.source!r}; there are {', '.join(KNOWN_SOURCES)}")
        if self.n_seeds < 2:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; an interval needs at least 2")
        if self.n_generations < 3:
            raise ValueError(f"Settings.n_generations={self.n_generations}; 3 or more: the last is predicted")
        if 0.0 not in self.real_shares or not all(0 <= share <= 1 for share in self.real_shares):
            raise ValueError(
                f"Settings.real_shares={list(self.real_shares)}; they are from 0 to 1, and 0 is among them: "
                "all others are compared with it"
            )
        if not all(0 < share <= 1 for share in self.rephrased):
            raise ValueError(f"Settings.rephrased={list(self.rephrased)}; they are above 0, at most 1")

    @property
    def seeds(self) -> range:
        """Those of the chains of generations."""
        return range(self.seed, self.seed + self.n_seeds)

    @property
    def arms(self) -> tuple[str, ...]:
        """How generations follow each other."""
        return (*map(replace, self.real_shares), ACCUMULATE, EQUAL_STEPS)


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    plan(settings, settings.n_generations)
    return dataclasses.replace(build(settings), prepare=lambda: _prepared(settings))


def _prepared(settings: Settings) -> Study:
    """With the real text at hand, and the corpora of the first stage made of it."""
    prepared_data(DataConfig(task=settings.source))
    generations.make_corpora(Path(), plan(settings, 1))
    return build(settings)


def build(settings: Settings) -> Study:
    """The study; the corpus of each generation is made when it is its turn."""
    stages = tuple(
        Stage(
            f"generation {generation}",
            functools.partial(lambda generation, runs: plan(settings, generation), generation),
            before=functools.partial(make, settings, generation) if generation > 1 else None,
        )
        for generation in range(1, settings.n_generations + 1)
    )
    summary = "generations of models trained on samples of the last one: replace, accumulate, real shares"
    return Study("model_made", summary, settings, stages, functools.partial(finish, settings))


def plan(settings: Settings, generation: int) -> list[RunConfig]:
    """The runs of a generation."""
    if generation == 1:
        return [run for _, run in first(settings)]
    return [chain(settings, arm, seed)[generation - 1] for seed in settings.seeds for arm in settings.arms]


def make(settings: Settings, generation: int, folder: Path, runs: Runs, configs: list[RunConfig]) -> None:
    """Samples from the last generation, and makes the corpora of this one; says what theory expects, first.

    Args:
      settings: of the study.
      generation: from 2 on.
      folder: of the study; runs: so far; configs: of this generation.
    """
    if generation == 3 and not (folder / "prediction.json").is_file():
        predict(settings, folder)
    generations.make_corpora(folder, configs)


def configure(settings: Settings, made: ModelMadeConfig, seed: int, longer: int = 1) -> RunConfig:
    """One run.

    Args:
      settings: of the study.
      made: its corpus.
      seed: of the run.
      longer: times the study's tokens.
    """
    row_length, data = (
        KNOWN_SOURCES[settings.source].row_length,
        DataConfig(task="model_made", model_made=made),
    )
    return RunConfig(
        model=ladder(settings.width, data.vocab_size),
        data=data,
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=20 * settings.batch_rows * row_length),
        batch_tokens=settings.batch_rows * row_length,
        seq_len=row_length,
        n_tokens=settings.n_tokens * longer,
        seed=seed,
        n_val_tokens=settings.n_measured * row_length,
    )


def chain(settings: Settings, arm: str, seed: int) -> list[RunConfig]:
    """The generations of an arm, from the first."""
    n, real = settings.n_documents, real_text(settings, seed)
    found = [configure(settings, real, seed)]
    kept = {replace(share): round(share * n) for share in settings.real_shares}
    for generation in range(2, settings.n_generations + 1):
        earlier, made = tuple(run.run_id for run in found), real
        if arm not in kept:
            made = dataclasses.replace(real, runs=earlier, n_sampled=n)
        elif kept[arm] < n:
            made = dataclasses.replace(real, n_real=kept[arm], runs=earlier[-1:], n_sampled=n - kept[arm])
        longer = generation if arm == ACCUMULATE else 1
        found.append(configure(settings, made, seed + settings.n_seeds * (generation - 1), longer))
    return found


def real_text(settings: Settings, seed: int) -> ModelMadeConfig:
    """The first generation's corpus, of each seed another part of the source."""
    n = settings.n_documents
    return ModelMadeConfig(settings.source, first=(seed - settings.seed) * n, n_real=n)


def first(settings: Settings) -> list[tuple[dict[str, Any], RunConfig]]:
    """(what it is, run) of the first generation, longer ones, and those on rephrased text."""
    n, found = settings.n_documents, []
    shares = settings.rephrased if KNOWN_SOURCES[settings.source].rephrase else ()
    for seed in settings.seeds:
        real = real_text(settings, seed)
        for times in (1, *settings.longer):
            about = {"seed": seed, "rephrased": 0.0, "longer": times}
            found.append((about, configure(settings, real, seed, times)))
        for share in shares:
            about = {"seed": seed, "rephrased": share, "longer": 1}
            others = round(share * n)
            made = dataclasses.replace(real, n_real=n - others, n_rephrased=others)
            found.append((about, configure(settings, made, seed)))
    return found


def predict(settings: Settings, folder: Path) -> None:
    """Writes down, after two generations, what theory says of the last one under replace and accumulate."""
    said, steps = [], settings.n_generations - 1
    for seed in settings.seeds:
        runs = chain(settings, replace(0.0), seed)
        start, second = (measure(settings, folder, run.run_id)["excess"] for run in runs[:2])
        said.append(
            {"seed": seed} | {arm: start + f(steps) * (second - start) for arm, f in collapse.THEORY.items()}
        )
    write_json(folder / "prediction.json", {"generation": settings.n_generations, "seeds": said})


def measure(settings: Settings, folder: Path, run: str) -> dict[str, float]:
    """How far a run is off on real documents that none has read, nats a token: "excess", and on the least and
    the most probable of them "tail" and "head"."""
    row_length = KNOWN_SOURCES[settings.source].row_length
    off, truth = generations.excess(folder / "runs" / run, settings.source, settings.n_measured)
    return {name: nats / row_length for name, nats in collapse.by_probability(off, truth).items()}


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes model_made.csv (a row a run), .json and .png, and says what became of the generations."""
    done = set(runs.table.loc[runs.table.status == "done", "run_id"])
    table = measured(settings, folder, done)
    others = [
        about | {"run_id": run.run_id} | measure(settings, folder, run.run_id)
        for about, run in first(settings)
        if run.run_id in done
    ]
    said = pd.DataFrame(json.loads((folder / "prediction.json").read_text())["seeds"])
    chains = pd.DataFrame(table[table["generation"] > 0])
    found = {
        "level": settings.level,
        "arms": [collapse.of_arm(arm, chains, said, settings.level) for arm in settings.arms],
        "rephrased": collapse.of_rephrased(pd.DataFrame(others), settings.level),
    }
    write_atomic(folder / "model_made.csv", pd.concat([table, pd.DataFrame(others)]).to_csv(index=False))
    write_json(folder / "model_made.json", found)
    write_atomic(folder / "model_made.png", figures.model_made(table, pd.DataFrame(found["rephrased"])))
    return "\n".join(collapse.in_words(found))


def measured(settings: Settings, folder: Path, done: set[str]) -> pd.DataFrame:
    """arm, seed, generation, run_id, what `measure` and `collapse.of_text` say of each run that is done, and
    "kept"; generation 0 is the real text."""
    known = KNOWN_SOURCES[settings.source]
    found, seen = [], {}
    for arm, seed in itertools.product(settings.arms, settings.seeds):
        natural = generations.real_documents(real_text(settings, seed))
        about = {"arm": arm, "seed": seed, "generation": 0}
        found.append(about | collapse.of_text(known, natural, known.nats(natural)))
        for number, run in enumerate(chain(settings, arm, seed), 1):
            if run.run_id not in done:
                break
            if run.run_id not in seen:
                said = generations.sampled(folder, run.run_id, settings.source, settings.n_documents)
                about = collapse.of_text(known, said.documents, said.nats) | {"kept": said.kept}
                seen[run.run_id] = measure(settings, folder, run.run_id) | about
            about = {"arm": arm, "seed": seed, "generation": number, "run_id": run.run_id}
            found.append(about | seen[run.run_id])
    return pd.DataFrame(found)
