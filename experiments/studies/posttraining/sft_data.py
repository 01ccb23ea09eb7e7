"""How many demonstrations supervised fine-tuning needs, by the size of the model.

1. pretrain: a model of each width.
2. fine-tune: each of them on each number of examples, for several numbers of steps; of these the one with the
   lowest validation loss counts, as few examples are soon learnt by heart.
Then a law of the loss over size and examples, fitted to all widths but the largest and compared with that
one; and the true reward of what each model says.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import models
import scaling
from experiments.config import DataConfig, RunConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig
from experiments.studies.posttraining import figures, measures, recipes
from experiments.studies.study import Stage, Study, with_prepared_data
from scaling.table.runs import Runs, check

LAW = "fine_tuning"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The law is fitted to all `widths` but the last."""

    seed: int = 0
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    widths: tuple[int, ...] = (16, 24, 32, 48)
    n_examples: tuple[int, ...] = (128, 512, 2048, 8192)
    n_steps: tuple[int, ...] = (64, 128, 256)
    pretrain_steps: int = 200
    n_prompts: int = 256
    n_samples: int = 2

    def __post_init__(self):
        if len(self.widths) < 3 or len(self.n_examples) < 3 or not self.n_steps:
            raise ValueError("Settings: a law needs three widths, three n_examples, and one n_steps or more")


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
    summary = "fine-tuning on more and more demonstrations, for several sizes, and its law"
    return Study("sft_data", summary, settings, stages, functools.partial(finish, settings))


def pretrained(settings: Settings, width: int) -> RunConfig:
    """The model of a width that has read text."""
    return recipes.pretrain(settings.data, width, settings.pretrain_steps, seed=settings.seed)


def fine_tuned(settings: Settings) -> list[tuple[int, int, RunConfig]]:
    """(width, number of examples, run) of all runs of the second stage."""
    return [
        (
            width,
            n,
            recipes.fine_tune(
                *(pretrained(settings, width), dataclasses.replace(settings.gold, n_examples=n), n_steps),
                seed=settings.seed,
            ),
        )
        for width in settings.widths
        for n in settings.n_examples
        for n_steps in settings.n_steps
    ]


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Fits the law; writes sft_data.csv, .json and .png, and says how well it predicted the largest width."""
    table = lowest(settings, folder, runs)
    smaller = table["d_model"] != settings.widths[-1]
    fit = fit_law(pd.DataFrame(table[smaller]))
    columns = {name: table[name].to_numpy(float) for name in ("n_params", "n_examples")}
    table = table.assign(predicted=fit.predict(**columns).loss)
    found = pd.DataFrame(table[~smaller])
    errors = (found["predicted"] / found["loss"] - 1).to_numpy(float)
    result = {
        "params": fit.params,
        "largest": found.to_dict("records"),
        "rms_error": float(np.sqrt(np.mean(errors**2))),
    }
    write_atomic(folder / "sft_data.csv", table.to_csv(index=False))
    write_json(folder / "sft_data.json", result)
    write_json(folder / "fit.json", fit.to_json())
    write_atomic(folder / "sft_data.png", figures.sft_data(table))
    return last_words(table, result)


def lowest(settings: Settings, folder: Path, runs: Runs) -> pd.DataFrame:
    """For each width and number of examples the run of the lowest loss: d_model, n_params, n_examples,
    n_steps, loss, gold."""
    losses = dict(zip(runs.table["run_id"], runs.table["loss"]))
    best: dict[tuple[int, int], RunConfig] = {}
    for width, n, config in fine_tuned(settings):
        kept = best.setdefault((width, n), config)
        if losses[config.run_id] < losses[kept.run_id]:
            best[width, n] = config
    rows: list[dict[str, Any]] = []
    for (width, n), config in best.items():
        samples = measures.sample_policy(
            folder / "runs" / config.run_id, settings.gold, settings.n_prompts, settings.n_samples
        )
        about = {"d_model": width, "n_params": models.count(config.model).n_params, "n_examples": n}
        about |= {"n_steps": config.n_steps, "loss": losses[config.run_id]}
        rows.append(about | {"gold": float(samples.gold.mean())})
    return pd.DataFrame(rows)


def fit_law(table: pd.DataFrame) -> scaling.Fit:
    """The law of fine-tuning, of losses by size and examples."""
    names = ["n_params", "n_examples", "loss"]
    rows = pd.DataFrame(table[names], dtype=float).reset_index(drop=True)
    return scaling.fit(check(rows, {}, needed=tuple(names)), law=LAW, n_bootstrap=0)


def last_words(table: pd.DataFrame, result: dict[str, Any]) -> str:
    """The law, and what it said of the largest width."""
    law = ", ".join(f"{name} {value:.3g}" for name, value in result["params"].items())
    lines = [f"loss = E + A / (N^alpha n_examples^beta): {law}"]
    lines.append("of the largest width, to which it was not fitted:")
    for row in result["largest"]:
        lines.append(
            f"  {row['n_examples']:>6,} examples: predicted {row['predicted']:.3f}, measured "
            f"{row['loss']:.3f} nats a token after {row['n_steps']} steps; true reward {row['gold']:.2f}"
        )
    return "\n".join([*lines, f"  {result['rms_error']:.1%} off (RMS)"])
