"""What are tokens worth that a model meets again? Epochs at fixed unique tokens, under several weight decays.

1. runs: models of several widths; on a part of the corpus again and again, and once on more and more of it.
2. longest: those of most epochs. What the laws of the others expect of them is written down before.
3. at the end: for each weight decay, the law of repeats that are worth less and less (Muennighoff et al.
   2023) beside the law of repeats that do harm (Lovelace et al. 2026), what repeats cost against as many
   fresh tokens, and the epochs of the lowest loss.
"""

import dataclasses
import functools
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig, MixtureConfig, SourceConfig
from experiments.fields import Numbers, apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data import figures, repetition_laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import count, ladder
from scaling.report import Picture
from scaling.table.runs import Runs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs that differ in their epochs share their steps up to the decay.

    source: the corpus, as the only component of a mixture, of which a part can be read.
    unique_tokens: parts of the corpus that are repeated; fresh: tokens of runs that meet each once.
    """

    seed: int = 0
    source: SourceConfig = dataclasses.field(default_factory=lambda: SourceConfig("text", "docstrings"))
    widths: tuple[int, ...] = (16, 24, 32)
    unique_tokens: tuple[int, ...] = (8_000, 32_000)
    epochs: tuple[int, ...] = (1, 2, 4, 8, 16, 40)
    fresh: tuple[int, ...] = (64_000, 128_000, 256_000, 512_000)
    weight_decays: tuple[float, ...] = (0.1, 1.0)
    lr: float = 1e-2
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 32_768
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        repeated = len(self.unique_tokens) * (len(self.epochs) - 1)
        if len(self.widths) * (repeated + len(self.fresh)) < 9:
            raise ValueError(
                "Settings: the laws need 9 runs or more of each weight decay besides those of most epochs; "
                "give more epochs, fresh or widths"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = DataConfig(task="mixture", sources=(settings.source,))
    plan(settings, data)
    return with_prepared_data(data, lambda prepared: build(settings, prepared))


def build(settings: Settings, data: DataConfig) -> Study:
    """The study on these data."""
    stages = (
        Stage("runs", lambda runs: plan(settings, data)[0]),
        Stage(
            "longest",
            lambda runs: plan(settings, data)[1],
            before=lambda folder, runs, configs: predict(settings, data, folder, runs),
        ),
    )
    summary = "repeated tokens at fixed unique ones: what an epoch is worth, by weight decay"
    return Study("repetition", summary, settings, stages, functools.partial(finish, settings, data))


def plan(settings: Settings, data: DataConfig) -> tuple[list[RunConfig], list[RunConfig]]:
    """Every width and weight decay on every amount of text, repeated and fresh; and those of most epochs."""
    most = max(settings.epochs)
    repeated = [(unique, n) for unique in settings.unique_tokens for n in settings.epochs]
    shorter = [(unique, unique * n) for unique, n in repeated if n < most]
    shorter += [(n_tokens, n_tokens) for n_tokens in settings.fresh]
    longest = [(unique, unique * most) for unique in settings.unique_tokens]
    models = list(itertools.product(settings.widths, settings.weight_decays))

    def runs(amounts: list[tuple[int, int]]) -> list[RunConfig]:
        return [configure(settings, data, *model, *amount) for model in models for amount in amounts]

    return runs(shorter), runs(longest)


def configure(
    settings: Settings, data: DataConfig, width: int, weight_decay: float, unique: int, n_tokens: int
) -> RunConfig:
    """One run on `n_tokens` tokens, `unique` of them distinct.

    Args:
      settings: of the study.
      data: the corpus.
      width: of the model.
      weight_decay: of the optimizer.
      unique: tokens of the corpus that are read.
      n_tokens: to train on.
    """
    capped = MixtureConfig(unique_tokens=Numbers({settings.source.name: float(unique)}))
    return RunConfig(
        model=ladder(width, data.vocab_size),
        data=dataclasses.replace(data, mixture=capped),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99, weight_decay=weight_decay),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=10 * settings.batch_tokens),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def predict(settings: Settings, data: DataConfig, folder: Path, runs: Runs) -> None:
    """Writes down what both laws, fitted to the runs so far, expect of those of most epochs.

    Args:
      settings: of the study; data: its corpus.
      folder: of the study; runs: those of the first stage.
    """
    table, said = measured(settings, data, runs), []
    for decay, law, _, fit in repetition_laws.fits(table, settings.n_bootstrap, settings.level):
        for config in plan(settings, data)[1]:
            if config.optimizer.weight_decay == decay:
                part = part_of(settings, config)
                unique = table.loc[table["part"] == part, "unique_tokens"].max()
                n_tokens = config.n_steps * config.batch_tokens
                at = fit.predict(count(config.model).n_params, n_tokens, unique_tokens=unique)
                about = {"run_id": config.run_id, "weight_decay": decay, "law": law}
                said.append(about | {"predicted": at.loss, "lo": at.lo, "hi": at.hi})
    write_json(folder / "prediction.json", {"level": settings.level, "runs": said})


def finish(settings: Settings, data: DataConfig, folder: Path, runs: Runs) -> str:
    """Writes repetition.csv (a row a run), repetition.json and repetition.png, and says what was found.

    Args:
      settings: of the study; data: its corpus.
      folder: of the study; runs: all of its runs.
    """
    table = measured(settings, data, runs)
    laws = list(repetition_laws.fits(table, settings.n_bootstrap, settings.level))
    table = repetition_laws.with_laws(table, laws)
    found = {
        "laws": [repetition_laws.in_numbers(*each) for each in laws],
        "longest": list(repetition_laws.checked(json.loads((folder / "prediction.json").read_text()), table)),
        "against_fresh": repetition_laws.against_fresh(table).to_dict("records"),
        "repeats": list(repetition_laws.cost_of_repeats(table)),
    }
    write_atomic(folder / "repetition.csv", table.to_csv(index=False))
    write_json(folder / "repetition.json", found)
    picture = Picture(
        "repetition",
        "Loss by epochs, and two laws of repeated tokens",
        "A row for each part of the corpus that is repeated. Solid: the law of repeats that do harm; dashed: "
        "that of repeats that are worth less and less; rings: runs on as many fresh tokens.",
        figures.repetition(table, settings.unique_tokens),
    )
    write_findings(folder, [picture])
    return "\n".join(repetition_laws.in_words(found, settings.level))


def part_of(settings: Settings, config: RunConfig) -> int:
    """Tokens of the corpus that a run reads, again and again if need be."""
    assert config.data.mixture
    return int(config.data.mixture.unique_tokens[settings.source.name])


def measured(settings: Settings, data: DataConfig, runs: Runs) -> pd.DataFrame:
    """weight_decay, d_model, part, epochs and the columns of the laws, of every run that is done."""
    done = {run["run_id"]: run for run in runs.table.loc[runs.table.status == "done"].to_dict("records")}
    columns = ("run_id", "n_params", "n_tokens", "unique_tokens", "flops", "loss")
    table = pd.DataFrame(
        {
            "weight_decay": config.optimizer.weight_decay,
            "d_model": config.model.d_model,
            "part": part_of(settings, config),
            "epochs": done[config.run_id]["n_tokens"] / done[config.run_id]["unique_tokens"],
            **{column: done[config.run_id][column] for column in columns},
        }
        for config in itertools.chain(*plan(settings, data))
        if config.run_id in done
    )
    return table.sort_values(["weight_decay", "d_model", "part", "epochs"], ignore_index=True)
