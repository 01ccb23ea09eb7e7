"""Five ways to a required form, over sizes: what is valid, what is right, at which tokens, time and bias.

The task is semantic parsing: a question in simple words becomes a query, which is executed on small tables
(`experiments.evaluate.structured.parsing`). The ways:

- prompting alone, by examples; the pretrained model has read queries in several surface forms;
- post-processing of the same answers, by rules learnt from this model's mistakes on training questions,
  beside the library json-repair;
- sampling under the query language's regular expression, with importance weights for the bias;
- supervised fine-tuning on questions with queries;
- a classifier of one field of the query: its head alone, with the last layer, or with the whole network.

1. pretrain, 2. transfer: models of each width but the largest, under each seed, and what is made of them.
3. verify: the largest, after a law fitted to the smaller ones has said what it will come to. 4. the same.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import models
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources import queries
from experiments.fields import apply_overrides
from experiments.files import read_json, write_atomic, write_json
from experiments.objective_configs import (
    ClassifierConfig,
    ExamplesConfig,
    InitConfig,
    QueriesConfig,
    SFTConfig,
)
from experiments.studies.posttraining import laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.studies.trust.structured_output import figures, measures
from experiments.studies.trust.structured_output.measures import Sampling, Transferred
from experiments.study_report import write_findings
from models import ladder
from scaling.report import Picture
from scaling.table.runs import Runs

PAGE, PACKED, QUESTION = 160, 128, 32  # tokens of a row of pages, of packed conversations, of a question
HEADS = {  # way: patterns of what is trained, and of layers how many
    measures.HEAD: {"train": ("head/*",)},
    measures.LAST: {"train": ("body/blocks/*",), "last_layers": 1},
    measures.WHOLE: {},
}
PREDICTED = (  # of the largest, by `logistic:n_params,MEASURE`: (way, measure)
    (measures.PROMPT, "valid"),
    (measures.PROMPT, "right"),
    (measures.CONSTRAINED, "right"),
    (measures.FINE_TUNED, "right"),
)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The laws are fitted to all `widths` but the last."""

    seed: int = 0
    n_seeds: int = 3
    data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig("queries", vocab="sentencepiece", vocab_size=512)
    )
    widths: tuple[int, ...] = (8, 16, 24, 32)
    pretrain_steps: int = 800
    n_examples: int = 512
    sft_steps: int = 100
    head_steps: int = 120
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.widths) < 4 or sorted(set(self.widths)) != list(self.widths) or self.n_seeds < 2:
            raise ValueError(
                f"Settings: widths={self.widths}, n_seeds={self.n_seeds}; the law takes three widths below "
                "the largest, from small to large, and crossings two seeds"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    transferred_of(settings, settings.widths)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    *smaller, largest = settings.widths
    stages = (
        Stage("pretrain", lambda runs: pretrained_of(settings, smaller)),
        Stage("transfer", lambda runs: transferred_of(settings, smaller)),
        Stage(
            "verify",
            lambda runs: pretrained_of(settings, [largest]),
            before=lambda folder, runs, configs: predict(settings, folder),
        ),
        Stage("verify transfer", lambda runs: transferred_of(settings, [largest])),
    )
    summary = (
        "prompting, learnt repair, constraint, fine-tuning, classifier: which is worth it at which size?"
    )
    return Study("structured_output", summary, settings, stages, functools.partial(finish, settings))


def pretrained(settings: Settings, width: int, seed: int) -> RunConfig:
    """The model of a width and seed, counted from 0, that has read pages."""
    return _run(settings, width, seed, rows=8, seq_len=PAGE, n_steps=settings.pretrain_steps, lr=1e-2)


def pretrained_of(settings: Settings, widths: Sequence[int]) -> list[RunConfig]:
    """Those of these widths and all seeds."""
    return [pretrained(settings, width, seed) for width in widths for seed in range(settings.n_seeds)]


def transferred(settings: Settings, width: int, seed: int) -> Transferred:
    """What is made of the model of a width and seed, from the same questions each."""
    source = pretrained(settings, width, seed).run_id
    drawn = QueriesConfig(settings.n_examples, seed=1 + settings.seed + seed)
    about: dict[str, Any] = {"examples": ExamplesConfig("queries", queries=drawn)}
    tuned = _run(
        *(settings, width, seed),
        **{"rows": 8, "seq_len": PACKED, "n_steps": settings.sft_steps, "lr": 5e-3},
        init=InitConfig(source),
        objective=SFTConfig(),
        **about,
    )
    heads = {
        way: _run(
            *(settings, width, seed),
            **{"rows": 32, "seq_len": QUESTION, "n_steps": settings.head_steps},
            lr=3e-2 if way == measures.HEAD else 5e-3,
            init=InitConfig(source, **trained),
            objective=ClassifierConfig(queries.LABELS, pool="mean"),
            **about,
        )
        for way, trained in HEADS.items()
    }
    return Transferred(pretrained(settings, width, seed), tuned, heads)


def transferred_of(settings: Settings, widths: Sequence[int]) -> list[RunConfig]:
    """All runs that go on from the pretrained models of these widths."""
    each = [transferred(settings, width, seed) for width in widths for seed in range(settings.n_seeds)]
    return [run for one in each for run in (one.fine_tuned, *one.heads.values())]


def _run(
    settings: Settings,
    width: int,
    seed: int,
    *,
    rows: int,
    seq_len: int,
    n_steps: int,
    lr: float,
    **post_training: Any,
) -> RunConfig:
    return RunConfig(
        model=ladder(width, settings.data.vocab_size),
        data=settings.data,
        optimizer=OptimizerConfig(lr=lr, b2=0.99, weight_decay=0.01),
        schedule=ScheduleConfig(),
        batch_tokens=rows * seq_len,
        seq_len=seq_len,
        n_tokens=rows * seq_len * n_steps,
        seed=settings.seed + seed,
        n_val_tokens=64 * seq_len,
        **post_training,
    )


def measured(settings: Settings, folder: Path, widths: Sequence[int]) -> pd.DataFrame:
    """A row for each way, width and seed."""
    return pd.concat(
        [
            measures.measured(
                *(folder / "runs", transferred(settings, width, seed), settings.sampling),
                seed=settings.seed + seed,
            )
            for width in widths
            for seed in range(settings.n_seeds)
        ],
        ignore_index=True,
    )


def predict(settings: Settings, folder: Path) -> None:
    """Measures the smaller widths, fits the laws, and writes down what they say of the largest."""
    *smaller, largest = settings.widths
    table = measured(settings, folder, smaller)
    size = float(models.count(pretrained(settings, largest, 0).model).n_params)
    said, fits = [], {}
    for way, name in PREDICTED:
        rows = pd.DataFrame(table[table["way"] == way])
        fit = laws.fit_law(rows, f"logistic:n_params,{name}", settings.n_bootstrap, settings.level)
        [row] = laws.with_predictions(pd.DataFrame({"n_params": [size]}), fit).to_dict("records")
        row |= {edge: min(max(row[edge], 0.0), 1.0) for edge in ("lo", "hi")}  # of a share
        said.append({"way": way, "measure": name, **row})
        fits[f"{way}, {name}"] = fit.to_json()
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    write_json(folder / "fits.json", fits)
    write_json(folder / "prediction.json", {"level": settings.level, "rows": said})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Measures the largest width and compares the ways; writes structured_output.csv, .json and .png."""
    largest = measured(settings, folder, settings.widths[-1:])
    table = pd.concat([pd.read_csv(folder / "smaller.csv"), largest], ignore_index=True)
    said = read_json(folder / "prediction.json")["rows"]
    found = {
        "crossings": measures.crossings(table, settings.level, settings.seed),
        "differences": measures.differences(table, settings.level),
        "verify": measures.verified(said, largest),
    }
    write_atomic(folder / "structured_output.csv", table.to_csv(index=False))
    write_atomic(folder / "ways.csv", measures.summary(table).to_csv(index=False, float_format="%.4g"))
    write_json(folder / "structured_output.json", found)
    picture = Picture(
        "structured_output",
        "Form five ways, by size",
        "Lines: means over seeds; points: seeds. A query is right if it has the true one's answer on every "
        "table. The label is one field of the query, what it asks of weights: classifiers say it alone.",
        figures.ways(table),
    )
    write_findings(folder, [picture], {"ways.csv": "Means over seeds of each way, by size"})
    return measures.in_words(table, found, settings.level)
