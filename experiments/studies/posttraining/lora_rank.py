"""How many numbers fine-tuning needs: adapters of more and more rank against all parameters.

1. pretrain: a model of each width.
2. fine-tune: on the same demonstrations, by adapters of each rank, at each learning rate, and whole; for
   several seeds.
Of each rank the learning rate with the lowest validation loss, in the mean over seeds, counts.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import pandas as pd

import models
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig, LoRAConfig
from experiments.posttraining.trainable import trainable
from experiments.studies.posttraining import figures, recipes
from experiments.studies.study import Stage, Study, with_prepared_data
from experiments.study_report import write_findings
from experiments.training.objectives import objective_of
from scaling.report import Picture
from scaling.table.runs import Runs

WHOLE = 0  # rank of a run without adapters: all its parameters are trained
TARGETS = ("*blocks/*/w_*",)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. alpha of an adapter is twice its rank, so that one rate serves all."""

    seed: int = 0
    n_seeds: int = 2
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    widths: tuple[int, ...] = (16, 32)
    ranks: tuple[int, ...] = (1, 4, 16)
    lrs: tuple[float, ...] = (5e-3, 2e-2)
    pretrain_steps: int = 200
    n_steps: int = 96

    def __post_init__(self):
        if not (self.widths and self.ranks and self.lrs):
            raise ValueError("Settings: give one or more of widths, ranks and lrs")
        if self.n_seeds < 1:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; it must be at least 1")


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
                seed=settings.seed + k,
            ),
        )
        for width in settings.widths
        for rank in (WHOLE, *settings.ranks)
        for lr in settings.lrs
        for k in range(settings.n_seeds)
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes lora_rank.csv, .json and .png, and says what each rank comes to."""
    losses = dict(zip(runs.table["run_id"], runs.table["loss"]))
    rows: list[dict[str, Any]] = []
    for width, rank, config in fine_tuned(settings):
        about = {"d_model": width, "n_params": models.count(config.model).n_params, "rank": rank}
        about |= {"trained": n_trained(config), "lr": config.optimizer.lr, "seed": config.seed}
        rows.append(about | {"loss": float(losses[config.run_id])})
    table = at_best_rates(pd.DataFrame(rows))
    whole = table[table["rank"] == WHOLE].set_index(["d_model", "seed"])["loss"]
    keys = pd.MultiIndex.from_frame(pd.DataFrame(table[["d_model", "seed"]]))
    table = table.assign(above_whole=table["loss"] - whole.loc[keys].to_numpy())
    write_atomic(folder / "lora_rank.csv", table.to_csv(index=False))
    write_json(folder / "lora_rank.json", {"rows": table.to_dict("records")})
    picture = Picture(
        "lora_rank",
        "Loss by rank of the adapters",
        "Points: each seed at the better learning rate; lines: means over seeds; dashed: what training all "
        "parameters comes to.",
        figures.lora_rank(table),
    )
    write_findings(folder, [picture], {"lora_rank.csv": "Each size, rank and seed"})
    return conclusion(table)


def n_trained(config: RunConfig) -> int:
    """Numbers that a run trains."""
    objective = objective_of(models.build(config.model), config.recipe)
    part = trainable(objective, config.recipe).trained
    shapes = jax.eval_shape(lambda key: part(key, objective.init(key)), jax.random.key(0))
    return sum(x.size for x in jax.tree.leaves(shapes))


def at_best_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Of each width and rank the rows of the learning rate whose mean loss is lowest."""
    means: Any = table.groupby(["d_model", "rank", "lr"])["loss"].mean()
    best = means.loc[means.groupby(["d_model", "rank"]).idxmin()].index
    rows = table.set_index(["d_model", "rank", "lr"]).loc[best].reset_index()
    return rows.sort_values(["d_model", "rank", "seed"], ignore_index=True)


def conclusion(table: pd.DataFrame) -> str:
    """For each width what all parameters come to, and how far each rank stays above that, seed by seed."""
    lines = ["validation loss, nats a response token, at each rank's best learning rate:"]
    for width, of_width in table.groupby("d_model"):
        rows: Any = of_width
        whole = rows[rows["rank"] == WHOLE]
        n, loss = whole["trained"].iloc[0], whole["loss"].mean()
        lines.append(f"  {width} wide: all {n:,} parameters {loss:.3f}; above that, seed by seed")
        for rank, each in rows[rows["rank"] != WHOLE].groupby("rank"):
            above = ", ".join(f"{loss:+.3f}" for loss in each["above_whole"])
            lines.append(f"    rank {rank}, {each['trained'].iloc[0]:,} numbers: {above}")
    return "\n".join(lines)
