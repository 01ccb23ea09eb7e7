"""Why models make things up, on models whose every fact is known: exposures, singletons, snowballs, teaching.

1. read: models of several widths read biographies in which people occur 1 to 128 times, for one epoch; the
   smallest also with more people who occur once.
2. fine-tune: the widest of them are taught questions and answers, of which they know all, half or none, for a
   few steps and for many.
3. repair: those who were taught nothing that they knew are taught a little of what they know.
4. believe: they are taught to tell a region from a city that they have said or were told, with true cities
   alone, with false ones too, and with marks of who said it.
5. verify: a larger model. Before it reads, a law of the smaller ones, in which the error falls with the
   logarithm of exposures and sooner in larger models, says how often it will be wrong.
"""

import dataclasses
import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import BiographiesConfig, DataConfig, MixtureConfig
from experiments.fields import Numbers, apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.posttraining import laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.studies.trust.hallucination import asked, conclusions, figures, fine_tuning, self_delusion
from experiments.study_report import write_findings
from scaling.report import Picture
from scaling.table.runs import Runs

LAW = "fact_error"
SEQ_LEN = 128
BIOGRAPHIES, QUESTIONS = 0.6, 0.4  # of what is read about known people: as much as there is of either
DATA = DataConfig(
    "biographies",
    vocab="words",
    vocab_size=790,
    by="kind",
    biographies=BiographiesConfig(n_people=300, exposures=(1, 4, 16, 64, 128), n_junk=6000, regions=True),
)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    n_tokens: of the runs that the law is fitted to: one epoch of what there is about known people.
    junk: shares of what is read that is about people who occur once, by more of the smallest models.
    steps: of fine-tuning, few and many. delusion_steps: of teaching what follows from a city.
    n_samples: answers to each question that are drawn.
    """

    seed: int = 0
    n_seeds: int = 5
    data: DataConfig = DATA
    widths: tuple[int, ...] = (24, 32)
    verify_width: int = 48
    n_tokens: int = 1_000_000
    junk: tuple[float, ...] = (0.2,)
    steps: tuple[int, ...] = (16, 128)
    delusion_steps: int = 800
    n_samples: int = 8
    batch_rows: int = 4
    lr: float = 1e-2
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.widths) < 2 or self.n_seeds < 2 or len(self.steps) != 2 or not self.junk:
            raise ValueError(
                f"Settings: widths={self.widths}, n_seeds={self.n_seeds}, steps={self.steps}, "
                f"junk={self.junk}; give two or more widths and seeds, two steps, and one or more of junk"
            )
        if self.data.biographies is None or not self.data.biographies.regions:
            raise ValueError("Settings.data: its biographies must have regions, which cities imply")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    read(settings)
    verify(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    starts = widest(settings)
    stages = (
        Stage("read", lambda runs: read(settings)),
        Stage("fine-tune", lambda runs: [run for *_, run in fine_tuning.taught(starts, settings.steps)]),
        Stage("repair", lambda runs: [run for *_, run in fine_tuning.repaired(starts, settings.steps)]),
        Stage(
            "believe",
            lambda runs: [run for *_, run in self_delusion.taught(starts, settings.delusion_steps)],
        ),
        Stage(
            "verify",
            lambda runs: verify(settings),
            before=lambda folder, runs, configs: predict(settings, folder),
        ),
    )
    summary = "what models make up, and why, where every fact is known; a larger one predicted"
    return Study("hallucination", summary, settings, stages, functools.partial(finish, settings))


def configure(settings: Settings, width: int, n_tokens: int, junk: float, seed: int) -> RunConfig:
    """One run of pretraining.

    Args:
      settings: of the study.
      width: of the model.
      n_tokens: to read.
      junk: share of them about people who occur once.
      seed: of the run, counted from 0.
    """
    weights = {"biography": (1 - junk) * BIOGRAPHIES, "questions": (1 - junk) * QUESTIONS}
    weights |= {"junk": junk} if junk else {}
    return RunConfig(
        model=models.ladder(width, settings.data.vocab_size),
        data=dataclasses.replace(settings.data, mixture=MixtureConfig(weights=Numbers(**weights))),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99, weight_decay=0.01),
        schedule=ScheduleConfig(),
        batch_tokens=settings.batch_rows * SEQ_LEN,
        seq_len=SEQ_LEN,
        n_tokens=n_tokens,
        seed=settings.seed + seed,
        n_val_tokens=4096,
    )


def by_size(settings: Settings) -> list[RunConfig]:
    """The runs that the law is fitted to."""
    each = itertools.product(settings.widths, range(settings.n_seeds))
    return [configure(settings, width, settings.n_tokens, 0.0, seed) for width, seed in each]


def by_singletons(settings: Settings) -> list[RunConfig]:
    """The runs of the smallest width that read more and more people who occur once."""
    width = settings.widths[0]
    each = itertools.product((0.0, *settings.junk), range(settings.n_seeds))
    return [configure(settings, width, settings.n_tokens, junk, seed) for junk, seed in each]


def widest(settings: Settings) -> list[RunConfig]:
    """The runs that are asked for more, and taught."""
    width = settings.widths[-1]
    return [configure(settings, width, settings.n_tokens, 0.0, seed) for seed in range(settings.n_seeds)]


def read(settings: Settings) -> list[RunConfig]:
    """All of these, each once."""
    each = [*by_size(settings), *by_singletons(settings)]
    return list({config.run_id: config for config in each}.values())


def verify(settings: Settings) -> list[RunConfig]:
    """The larger model."""
    return [configure(settings, settings.verify_width, settings.n_tokens, 0.0, 0)]


def by_exposures(table: Any) -> pd.DataFrame:
    """Errors on known people, in the mean over attributes: run_id, n_params, seed, exposures, error."""
    known = table[table["kind"] == "known"]
    means = known.groupby(["run_id", "n_params", "seed", "exposures"], as_index=False).agg(
        error=("wrong", "mean")
    )
    return pd.DataFrame(means)


def predict(settings: Settings, folder: Path) -> None:
    """Fits the law to the smaller models, and writes down what it says of the larger one."""
    table = by_exposures(pd.concat([asked.facts(folder, config) for config in by_size(settings)]))
    fit = laws.fit_law(table, LAW, settings.n_bootstrap, settings.level)
    n_params = float(models.count(verify(settings)[0].model).n_params)
    about = pd.DataFrame({"exposures": sorted(set(table["exposures"])), "n_params": n_params})
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    write_json(folder / "fit.json", fit.to_json())
    said = laws.with_predictions(about, fit)
    write_json(folder / "prediction.json", {"level": settings.level, "rows": said.to_dict("records")})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Measures all effects; writes facts.csv, singletons.csv, snowballs.csv, self_delusion.csv,
    fine_tuning.csv, effects.csv, hallucination.json and the pictures."""
    fit, worlds = laws.read_fit(folder / "fit.json"), settings.data.biographies
    smaller, more = pd.read_csv(folder / "smaller.csv"), by_singletons(settings)
    facts: Any = pd.concat([asked.facts(folder, config) for config in (*more, *verify(settings))])
    small = facts[facts["run_id"].isin([config.run_id for config in more])]
    larger = by_exposures(facts[facts["run_id"] == verify(settings)[0].run_id])
    errors = laws.with_predictions(pd.concat([smaller, larger], ignore_index=True), fit)
    singletons = asked.over_the_corpus(small, worlds, BIOGRAPHIES)
    snowballs = pd.DataFrame([asked.snowballs(folder, each, settings.n_samples) for each in widest(settings)])
    taught = fine_tuning.measured(folder, widest(settings), settings.steps)
    believed = self_delusion.measured(folder, widest(settings), settings.delusion_steps, settings.n_samples)
    effects = conclusions.effects(smaller, singletons, snowballs, taught, believed, settings.level)
    compared = conclusions.of_larger(errors)
    unseen = facts[(facts["kind"] == "unseen") & (facts["junk"] == 0)]
    tables = {
        "effects.csv": ("Effects, as their papers have them and here", effects),
        "facts.csv": ("Errors by size and exposures", errors),
        "singletons.csv": ("Errors over the corpus by the rate of singletons", singletons),
        "snowballs.csv": ("What follows from a model's own wrong answers", snowballs),
        "self_delusion.csv": ("What is believed of what was said and told", believed),
        "fine_tuning.csv": ("What is known after fine-tuning", taught),
    }
    for name, (_, rows) in tables.items():
        write_atomic(folder / name, rows.to_csv(index=False))
    law = laws.parameters(fit)
    result = {"law": law, "larger": compared, "effects": effects.to_dict("records")}
    write_json(folder / "hallucination.json", result)
    pictures = [
        Picture("why", "What is read seldom is made up", figures.WHY, figures.why(errors, singletons)),
        Picture("after", "What follows", figures.AFTER, figures.after(believed, taught)),
    ]
    write_findings(folder, pictures, {name: title for name, (title, _) in tables.items()})
    return conclusions.in_words(fit, compared, errors, unseen, effects)
