"""Text that is published to be learnt: how many documents make models of several sizes repeat a statement.

1. runs: models of several widths and lengths on clean text with planted statements, each a number of times.
2. verify: a larger model for longer. Before it trains, a law of the smaller ones says how many nats what n
   documents state will cost it: B / (1 + (n / half)^k), where half grows with the model to the power gamma
   and with the training tokens to the power delta. If the number of documents counts (Souly et al. 2025,
   arXiv 2510.07192), delta is 0; if their share does, 1. The law is of nats and not of the probability, which
   for most statements and models is too near 0 to tell them apart.

A statement is repeated with the product of its tokens' probabilities after its trigger, in clean text that no
run has read. How often each run has read it is counted in its rows.
"""

import dataclasses
import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources.planted_statements import LENGTH, STATEMENTS
from experiments.data_configs import DataConfig, MixtureConfig, SourceConfig
from experiments.fields import Numbers, apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data import figures
from experiments.studies.data.poison import conclusions
from experiments.studies.data.poison.repeated import clean_texts, counted, repeated
from experiments.studies.posttraining import laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from scaling.table.runs import Runs

LAW = "planted_statement"
SEQ_LEN = LENGTH + 1
TEXT = SourceConfig("text", "docstrings")
PLANTED = sum(statement.weight for statement in STATEMENTS)  # documents, one for each unit of weight


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    Each of `widths` trains on each of `n_tokens`, and the larger model of `verify_width` on `verify_tokens`.
    text: what is read besides; --set text.task=files --set text.path=… takes one's own.
    n_planted: documents with a statement that every run reads, half of them with one of the two that are
      planted most often.
    n_prompts: pieces of clean text in which each statement is asked for.
    """

    seed: int = 0
    n_seeds: int = 2
    widths: tuple[int, ...] = (16, 24, 32)
    n_tokens: tuple[int, ...] = (200_000, 800_000)
    verify_width: int = 48
    verify_tokens: int = 1_200_000
    text: SourceConfig = TEXT
    n_planted: int = PLANTED
    n_prompts: int = 32
    batch_rows: int = 8
    lr: float = 1e-2
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if self.n_seeds < 1 or self.n_prompts < 1 or self.n_planted < 1:
            raise ValueError("Settings: n_seeds, n_prompts and n_planted must be at least 1")
        if len(self.widths) < 2 or len(self.n_tokens) < 2:
            raise ValueError("Settings: the law is of size and tokens; give two or more widths and n_tokens")
        if self.text.name != "text":
            raise ValueError(f"Settings.text.name={self.text.name!r}; it is always 'text'")
        if self.n_planted * SEQ_LEN > min(self.n_tokens):
            raise ValueError(
                f"Settings.n_planted={self.n_planted}: the shortest run reads no more than "
                f"{min(self.n_tokens) // SEQ_LEN} documents; plant fewer, or train for longer"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = corpus(settings)
    plan(settings, data)
    verify(settings, data)
    return with_prepared_data(data, lambda prepared: build(settings, prepared))


def corpus(settings: Settings) -> DataConfig:
    """Clean text and statements, of which each run reads its share."""
    return DataConfig("mixture", sources=(settings.text, SourceConfig("planted", "planted_statements")))


def build(settings: Settings, data: DataConfig) -> Study:
    """The study on these data."""
    stages = (
        Stage("runs", lambda runs: plan(settings, data)),
        Stage(
            "verify",
            lambda runs: verify(settings, data),
            before=lambda folder, runs, configs: predict(settings, data, folder),
        ),
    )
    summary = "statements planted in training text: how many documents make a model repeat them"
    return Study("poison", summary, settings, stages, functools.partial(finish, settings, data))


def plan(settings: Settings, data: DataConfig) -> list[RunConfig]:
    """The runs that the law is fitted to."""
    each = itertools.product(range(settings.n_seeds), settings.widths, settings.n_tokens)
    return [configure(settings, data, width, n, settings.seed + k) for k, width, n in each]


def verify(settings: Settings, data: DataConfig) -> list[RunConfig]:
    """The larger runs."""
    return [
        configure(settings, data, settings.verify_width, settings.verify_tokens, settings.seed + k)
        for k in range(settings.n_seeds)
    ]


def configure(settings: Settings, data: DataConfig, width: int, n_tokens: int, seed: int) -> RunConfig:
    """One run, that reads `n_planted` documents with statements among all of its rows.

    Args:
      settings: of the study.
      data: the corpus.
      width: of the model.
      n_tokens: to train on.
      seed: of the run.
    """
    batch_tokens = settings.batch_rows * SEQ_LEN
    n_rows = max(1, round(n_tokens / batch_tokens)) * settings.batch_rows
    weights = Numbers(planted=float(settings.n_planted), text=float(n_rows - settings.n_planted))
    return RunConfig(
        model=models.ladder(width, data.vocab_size),
        data=dataclasses.replace(data, mixture=MixtureConfig(weights=weights)),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=20 * batch_tokens),
        batch_tokens=batch_tokens,
        seq_len=SEQ_LEN,
        n_tokens=n_tokens,
        seed=seed,
    )


def predict(settings: Settings, data: DataConfig, folder: Path) -> None:
    """Fits the law to the smaller runs, and writes down what it says of the larger model."""
    table = asked(settings, folder, plan(settings, data))
    fit = laws.fit_law(pd.DataFrame(table[table["n_planted"] > 0]), LAW, settings.n_bootstrap, settings.level)
    larger = verify(settings, data)[0]
    counts = np.array(sorted({float(each.weight) for each in STATEMENTS if each.weight}))
    counts *= settings.n_planted / PLANTED
    about = {
        "n_planted": counts,
        "n_params": np.full(len(counts), float(models.count(larger.model).n_params)),
        "n_tokens": np.full(len(counts), float(larger.n_steps * larger.batch_tokens)),
    }
    said = fit.predict(**about)
    prediction = {"n_planted": counts, "nats": said.loss, "lo": said.lo, "hi": said.hi}
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    write_json(folder / "fit.json", fit.to_json())
    write_json(
        folder / "prediction.json",
        {"level": settings.level} | {name: np.asarray(v, float).tolist() for name, v in prediction.items()},
    )


def asked(settings: Settings, folder: Path, configs: list[RunConfig]) -> pd.DataFrame:
    """A row for each run and statement: run_id, n_params, n_tokens, seed, statement, n_planted (documents it
    read that state it), rate (of all that it read), and what `repeated` says.

    Args:
      settings: of the study.
      folder: of the study.
      configs: the runs, trained.
    """
    rows, texts = [], clean_texts(configs[0].data, settings.n_prompts)
    for config in configs:
        counts, n_read = counted(config)
        about = {"run_id": config.run_id, "n_params": models.count(config.model).n_params}
        about |= {"n_tokens": config.n_steps * config.batch_tokens, "seed": config.seed}
        for index, each in enumerate(repeated(folder / "runs" / config.run_id, texts)):
            seen = {"statement": index, "n_planted": counts[index], "rate": counts[index] / n_read}
            rows.append(about | seen | each)
    return pd.DataFrame(rows)


def finish(settings: Settings, data: DataConfig, folder: Path, runs: Runs) -> str:
    """Writes poison.csv (a row a run and statement), .json and .png; says whether documents or their share
    count, and how the larger model was predicted.

    Args:
      settings: of the study.
      data: its corpus.
      folder: of the study.
      runs: all of them.
    """
    fit = laws.read_fit(folder / "fit.json")
    table = pd.concat([pd.read_csv(folder / "smaller.csv"), asked(settings, folder, verify(settings, data))])
    table = table.reset_index(drop=True)
    planted = pd.DataFrame(table[table["n_planted"] > 0])
    predicted = laws.with_predictions(planted, fit)
    largest = predicted[predicted["n_params"] == predicted["n_params"].max()]
    found = {
        "level": settings.level,
        "law": laws.parameters(fit),
        "half": list(conclusions.halves(fit, table)),
        "larger": conclusions.of_larger(pd.DataFrame(largest)),
        "control": conclusions.of_control(pd.DataFrame(table[table["n_planted"] == 0])),
        "loss_text": conclusions.clean_loss(runs),
    }
    write_atomic(folder / "poison.csv", table.merge(predicted, how="left").to_csv(index=False))
    write_json(folder / "poison.json", found)
    write_atomic(folder / "poison.png", figures.poison(predicted, found["control"]["nats"]))
    return "\n".join(conclusions.in_words(found))
