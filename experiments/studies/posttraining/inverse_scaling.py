"""Does more post-training move a model away from what people want? Probes of behaviour over steps and sizes.

1. pretrain, 2. fine-tune: a policy of each width, on demonstrations of limited quality.
3. prefer: DPO of each of them for more and more steps, on the preferences of annotators who like to be agreed
   with (Sharma et al. 2023, arXiv 2310.13548); for several seeds, each with pairs of its own.
Then every policy is probed: opinions, agreement with a user who is wrong, claims about itself, refusals where
they are due and where they are not. The right answers are known, so a behaviour gets better, worse, or turns
(scaling.emergence.inverse_scaling). The probability that any test finds what is not there is `alpha` at most.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import models
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import DPOConfig, GoldConfig
from experiments.posttraining.gold import PROBES
from experiments.studies.posttraining import figures, measures, recipes
from experiments.studies.study import Stage, Study, with_prepared_data
from experiments.study_report import write_findings
from scaling.emergence import classify_trend
from scaling.emergence.inverse_scaling import FEWEST
from scaling.report import Picture
from scaling.table.runs import Runs

N_DRAWS = 10_000  # behind the p-values: enough for a tenth of the level


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change; `gold.flattery` is what agreement is worth to annotators."""

    seed: int = 0
    n_seeds: int = 2
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=lambda: GoldConfig(questions=0.5, flattery=2.0))
    widths: tuple[int, ...] = (16, 24, 32, 40)
    pretrain_steps: int = 200
    sft_steps: int = 200
    steps: tuple[int, ...] = (2, 8, 32, 128)
    beta: float = 0.1
    lr: float = 1e-3
    n_probes: int = 400
    alpha: float = 0.05

    def __post_init__(self):
        if min(len(self.widths), len(self.steps)) < FEWEST:
            raise ValueError(f"Settings: a trend takes {FEWEST} or more of widths and of steps")
        for name, least in (("n_probes", 2), ("n_seeds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Settings.{name}={getattr(self, name)}; it must be at least {least}")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    preferred(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("pretrain", lambda runs: [pretrained(settings, width) for width in settings.widths]),
        Stage("fine-tune", lambda runs: [policy(settings, width) for width in settings.widths]),
        Stage("prefer", lambda runs: preferred(settings)),
    )
    summary = "probes of behaviour over steps of preference tuning and sizes: better, worse, or a turn?"
    return Study(
        "inverse_scaling_posttraining", summary, settings, stages, functools.partial(finish, settings)
    )


def pretrained(settings: Settings, width: int) -> RunConfig:
    """The model of a width that has read text."""
    return recipes.pretrain(settings.data, width, settings.pretrain_steps, seed=settings.seed)


def policy(settings: Settings, width: int) -> RunConfig:
    """The fine-tuned policy of a width."""
    return recipes.fine_tune(
        *(pretrained(settings, width), settings.gold, settings.sft_steps), seed=settings.seed
    )


def preferred(settings: Settings) -> list[RunConfig]:
    """DPO of every width for every number of steps and seed."""
    return [
        recipes.from_policy(
            policy(settings, width),
            DPOConfig(beta=settings.beta),
            dataclasses.replace(settings.gold, seed=settings.gold.seed + k),
            n_steps=n_steps,
            lr=settings.lr,
            seed=settings.seed + k,
        )
        for width in settings.widths
        for n_steps in settings.steps
        for k in range(settings.n_seeds)
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Probes every policy; writes probes.csv, trends.json and inverse_scaling.png, and says each trend."""
    rows: list[dict[str, Any]] = []
    started = [(policy(settings, width), 0) for width in settings.widths]
    for config, steps in started + [(config, config.n_steps) for config in preferred(settings)]:
        about = {"d_model": config.model.d_model, "n_params": models.count(config.model).n_params}
        about |= {"steps": steps, "seed": config.seed}
        for kind in PROBES:
            found = measures.probe(folder / "runs" / config.run_id, settings.gold, kind, settings.n_probes)
            rows.append(about | {"kind": kind, **found})
    table = pd.DataFrame(rows)
    found = trends(table, settings)
    write_atomic(folder / "probes.csv", table.to_csv(index=False))
    write_json(folder / "trends.json", {"trends": [as_json(one) for one in found]})
    picture = Picture(
        "inverse_scaling",
        "Probability of the right answer, by steps of preference tuning",
        "A panel a behaviour. Points: seeds, with 90% intervals over their probes; lines: means over seeds.",
        figures.probes(table),
    )
    write_findings(folder, [picture])
    return conclusion(table, found)


def trends(table: pd.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """Of each behaviour: its trend over the steps, of the largest model, from the start on (a step more than
    were made); and over sizes, after the most steps. Each at an equal share of the level of all."""
    largest = table["n_params"] == table["n_params"].max()
    longest = table["steps"] == max(settings.steps)
    views = {"steps": (largest, table["steps"] + 1), "sizes": (longest, table["n_params"])}
    level, found = settings.alpha / (len(PROBES) * len(views)), []
    for kind in PROBES:
        for over, (which, scales) in views.items():
            rows = which & (table["kind"] == kind)
            value, se = (table.loc[rows, name].to_numpy(float) for name in ("right", "se"))
            trend = classify_trend(
                scales[rows].to_numpy(float), value, np.maximum(se, 1e-3), n_draws=N_DRAWS, alpha=level
            )
            found.append({"kind": kind, "over": over, "trend": trend})
    return found


def conclusion(table: pd.DataFrame, found: list[dict[str, Any]]) -> str:
    """Each trend with what it is of: the probability of the right answer at either end."""
    columns, lines = {"steps": "steps", "sizes": "n_params"}, []
    for one in found:
        rows: Any = table[table["kind"] == one["kind"]]
        other = "n_params" if one["over"] == "steps" else "steps"
        right: Any = rows[rows[other] == rows[other].max()].groupby(columns[one["over"]])["right"].mean()
        ends = f"right {right.iloc[0]:.2f} to {right.iloc[-1]:.2f}"
        lines.append(f"{one['kind']}, over {one['over']}: {ends}. {one['trend']}")
    return "\n".join(lines)


def as_json(one: dict[str, Any]) -> dict[str, Any]:
    """A trend as JSON has it: what is not finite is null."""
    numbers = dataclasses.asdict(one["trend"])
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in numbers.items()
    } | {"behaviour": one["kind"], "over": one["over"]}
