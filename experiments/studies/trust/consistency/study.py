"""Whether a model says the same when it is asked again or otherwise, and what that tells of what it knows.

Models of several sizes read biographies of people whose every fact is known, some stated once an epoch and
some often, and questions about half of them. They are asked for each fact, and for facts of people whom
they have never read of: again at temperatures from 0 to 1.5, in a second wording of training, in one that
was kept out of it, and with one character changed (`measures`).

1. read: models of each width but the largest, under each seed.
2. verify: the largest, after the planted-statement law over size and exposures, fitted to the smaller ones,
   has said what a fact will cost it in nats, and how often two answers to a question about it will differ.
And the determinism matrix of one model: what of batch, padding, mesh, … changes bits and tokens.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources.biographies import ATTRIBUTES, people, question
from experiments.data_configs import BiographiesConfig, DataConfig
from experiments.evaluate.trust import determinism
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.posttraining import laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.studies.trust.consistency import figures, measures, summary
from experiments.study_report import write_findings
from models import ladder
from scaling.report import Picture
from scaling.table.runs import Runs

LAW, PREDICTED = "planted_statement", ("nats", "differ")
ROW = 64  # tokens of a row of training
BIOGRAPHIES = DataConfig(
    task="biographies",
    vocab="words",
    vocab_size=585,
    biographies=BiographiesConfig(n_people=64, exposures=(1, 4, 16, 64), questions=0.5),
)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The law is fitted to all `widths` but the last.

    Of a corpus of other people `data.vocab_size` is another, too: a token for each of its words.
    """

    seed: int = 0
    n_seeds: int = 3
    data: DataConfig = field(default_factory=lambda: BIOGRAPHIES)
    widths: tuple[int, ...] = (8, 16, 24, 40)
    n_steps: int = 668
    batch_rows: int = 8
    lr: float = 1e-2
    temperatures: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
    n_unseen: int = 32
    k: int = 10
    matrix_prompts: int = 8
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if self.data.biographies is None:
            raise ValueError(
                f"Settings.data.task={self.data.task!r}; questions are about biographies: give "
                "data.task=biographies and data.biographies"
            )
        if len(self.widths) < 3 or self.n_seeds < 2 or len(set(self.data.biographies.exposures)) < 3:
            raise ValueError("Settings: a law needs three widths and exposures, and intervals two n_seeds")
        if not {0.0, 1.0} <= set(self.temperatures) or self.k < 2 or self.n_unseen < 1:
            raise ValueError("Settings: temperatures have 0 and 1, k is 2 or more, n_unseen 1 or more")

    @property
    def biographies(self) -> BiographiesConfig:
        """What the corpus says of whom."""
        assert self.data.biographies is not None
        return self.data.biographies


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    readers(settings, settings.widths)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    *smaller, largest = settings.widths
    stages = (
        Stage("read", lambda runs: readers(settings, smaller)),
        Stage(
            "verify",
            lambda runs: readers(settings, [largest]),
            before=lambda folder, runs, configs: predict(settings, folder),
        ),
    )
    about = "the same question again, in other words, with a slip: over temperature, size and exposures"
    return Study("consistency", about, settings, stages, functools.partial(finish, settings))


def reader(settings: Settings, width: int, seed: int) -> RunConfig:
    """The model of a width and seed, counted from 0."""
    rows = settings.batch_rows
    return RunConfig(
        model=ladder(width, settings.data.vocab_size),
        data=settings.data,
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99, weight_decay=0.01),
        schedule=ScheduleConfig(),
        batch_tokens=rows * ROW,
        seq_len=ROW,
        n_tokens=rows * ROW * settings.n_steps,
        seed=settings.seed + seed,
        n_val_tokens=32 * ROW,
    )


def readers(settings: Settings, widths: Sequence[int]) -> list[RunConfig]:
    """Those of these widths and all seeds."""
    return [reader(settings, width, seed) for width in widths for seed in range(settings.n_seeds)]


def measured(settings: Settings, folder: Path, widths: Sequence[int]) -> pd.DataFrame:
    """A row for each width, seed, temperature, number of exposures, and whether people were questioned."""
    parts = []
    for config in readers(settings, widths):
        run = folder / "runs" / config.run_id
        table = measures.measured(run, settings.biographies, settings.n_unseen, settings.temperatures)
        found = measures.detection(run, settings.biographies, settings.k, config.seed)
        size = models.count(config.model).n_params
        about = {"run_id": config.run_id, "d_model": config.model.d_model, "n_params": size}
        parts.append(
            table.assign(**about, seed=config.seed, **{f"detection_{n}": v for n, v in found.items()})
        )
    return pd.concat(parts, ignore_index=True)


def points(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """What the law is about: facts of people who were questioned, at temperature 1; n_planted is how many
    biographies of an epoch state one, and the law's target is nats or how often two answers differ."""
    rows = pd.DataFrame(table[(table["temperature"] == 1) & table["questioned"]])
    target = rows["nats"] if name == "nats" else 1 - rows["agreement"]
    columns = ["run_id", "n_params", "seed"]
    return rows[columns].assign(n_planted=rows["exposures"], n_tokens=1.0, nats=target)


def predict(settings: Settings, folder: Path) -> None:
    """Measures the smaller widths, fits the law, and writes down what it says of the largest."""
    *smaller, largest = settings.widths
    table = measured(settings, folder, smaller)
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    size = float(models.count(reader(settings, largest, 0).model).n_params)
    levels = sorted(set(settings.biographies.exposures))
    asked = pd.DataFrame({"n_params": size, "n_planted": levels, "n_tokens": 1.0})
    said = {}
    for name in PREDICTED:
        fit = laws.fit_law(points(table, name), LAW, settings.n_bootstrap, settings.level)
        said[name] = laws.with_predictions(asked, fit).to_dict("records")
        write_json(folder / f"fit_{name}.json", fit.to_json())
    write_json(folder / "prediction.json", {"level": settings.level, "rows": said})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Measures the largest width and sums up; writes consistency.csv, .json, .png, and the matrix."""
    largest = measured(settings, folder, settings.widths[-1:])
    table = pd.concat([pd.read_csv(folder / "smaller.csv"), largest], ignore_index=True)
    laid_out = pd.concat(
        [
            laws.with_predictions(points(table, name), laws.read_fit(folder / f"fit_{name}.json")).assign(
                target=name
            )
            for name in PREDICTED
        ],
        ignore_index=True,
    )
    last = [folder / "runs" / each.run_id for each in readers(settings, settings.widths[-1:])]
    found = {
        "verified": {
            name: laws.compare(
                pd.DataFrame(laid_out[laid_out["target"] == name]), "n_params", "nats", ["n_planted", "seed"]
            )
            for name in PREDICTED
        },
        "effects": summary.effects(table, settings.level),
        "detection": summary.detection(table, settings.level),
        "orders": [measures.orders(run, settings.biographies, 16) for run in last],
        "sampled": measures.sampled(last[0], settings.biographies, 24, settings.k),
    }
    pictures = [
        Picture(
            "consistency",
            "Agreement over temperature, size and exposures",
            "Means over seeds of the facts of people about whom there were questions, and of people who are "
            "in no document. Dashed: the law, fitted to all sizes but the largest; band: its interval.",
            figures.consistency(table, laid_out),
        )
    ]
    tables = {"consistency.csv": "Each size, seed, temperature and number of exposures"}
    if settings.matrix_prompts:
        asked = [
            question(person, name, 0).prompt for person in people(settings.biographies) for name in ATTRIBUTES
        ]
        matrix = determinism.matrix(last[0], asked[:: max(1, len(asked) // settings.matrix_prompts)])
        write_atomic(folder / "matrix.csv", matrix.to_csv(index=False, float_format="%.4g"))
        tables["matrix.csv"] = "What changes bits and tokens, of the largest model of the first seed"
        words = (
            "Left: the largest difference of a logit from one prompt at a time on one device. Right: share "
            "of texts that differ, at temperature 0 and drawn at a seed."
        )
        pictures.append(Picture("matrix", "Determinism", words, figures.matrix(matrix)))
        found["matrix"] = matrix.to_dict("records")
    write_atomic(folder / "consistency.csv", table.to_csv(index=False))
    write_json(folder / "consistency.json", found)
    write_findings(folder, pictures, tables)
    return summary.in_words(table, found, laid_out, settings.level)
