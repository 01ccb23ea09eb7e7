"""How many numbers fine-tuning needs: adapters of more and more rank against all parameters.

1. pretrain: a model of each width.
2. fine-tune: on the same demonstrations, by adapters of each rank, at each learning rate, and whole.
Of each rank the learning rate with the lowest validation loss counts.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import models
from experiments.config import DataConfig, RunConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig, LoRAConfig
from experiments.studies.posttraining import figures, recipes
from experiments.studies.study import Stage, Study, with_prepared_data
from scaling.table.runs import Runs

WHOLE = 0  # rank of a run without adapters: all its parameters are trained
TARGETS = ("*blocks/*/w_*",)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. alpha of an adapter is twice its rank, so that one rate serves all."""

    seed: int = 0
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    widths: tuple[int, ...] = (16, 32)
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16)
    lrs: tuple[float, ...] = (5e-3, 2e-2)
    pretrain_steps: int = 200
    n_steps: int = 200

    def __post_init__(self):
        if not (self.widths and self.ranks and self.lrs):
            raise ValueError("Settings: give one or more of widths, ranks and lrs")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    fine_tuned(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("pretrain", lambda runs: [pretrained(settings, width) for width in settings.widths]),
        Stage("fine-tune", lambda runs: [config for _, _, config in fine_tuned(settings)]),
    )
    summary = "fine-tuning by adapters of more and more rank, against all parameters"
    return Study("lora_rank", summary, settings, stages, functools.partial(finish, settings))


def pretrained(settings: Settings, width: int) -> RunConfig:
    """The model of a width that has read text."""
    return recipes.pretrain(settings.data, width, settings.pretrain_steps, seed=settings.seed)


def fine_tuned(settings: Settings) -> list[tuple[int, int, RunConfig]]:
    """(width, rank, run) of all runs of the second stage; rank WHOLE has no adapters."""
    return [
        (
            width,
            rank,
            recipes.fine_tune(
                *(pretrained(settings, width), settings.gold, settings.n_steps, lr),
                lora=None if rank == WHOLE else LoRAConfig(rank, alpha=2.0 * rank, targets=TARGETS),
                seed=settings.seed,
            ),
        )
        for width in settings.widths
        for rank in (WHOLE, *settings.ranks)
        for lr in settings.lrs
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes lora_rank.csv, .json and .png, and says what each rank comes to."""
    losses = dict(zip(runs.table["run_id"], runs.table["loss"]))
    best: dict[tuple[int, int], dict[str, Any]] = {}
    for width, rank, config in fine_tuned(settings):
        row = {"d_model": width, "n_params": models.count(config.model).n_params, "rank": rank}
        row |= {"lr": config.optimizer.lr, "loss": float(losses[config.run_id])}
        if row["loss"] < best.setdefault((width, rank), row)["loss"]:
            best[width, rank] = row
    table = pd.DataFrame(list(best.values()))
    write_atomic(folder / "lora_rank.csv", table.to_csv(index=False))
    write_json(folder / "lora_rank.json", {"rows": list(best.values())})
    write_atomic(folder / "lora_rank.png", figures.lora_rank(table))
    lines = ["validation loss, nats a response token, at each rank's best learning rate:"]
    for width in settings.widths:
        words = ", ".join(f"rank {rank} {best[width, rank]['loss']:.3f}" for rank in settings.ranks)
        lines.append(f"  {width} wide: all parameters {best[width, WHOLE]['loss']:.3f}; {words}")
    return "\n".join(lines)
