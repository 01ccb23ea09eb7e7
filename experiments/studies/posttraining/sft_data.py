"""How many demonstrations supervised fine-tuning needs, by the size of the model.

1. pretrain: models of each width, one a seed.
2. fine-tune: each of them but the largest on each number of examples, those of a seed its own, for several
   numbers of steps; of these the one with the lowest validation loss counts, as few examples are soon learnt
   by heart.
3. verify: the largest. Before it is fine-tuned, a law of the loss over size and examples, fitted to the
   others, says what it will come to.
And the true reward of what each model says.
"""

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import models
import scaling
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.objective_configs import GoldConfig
from experiments.studies.posttraining import figures, laws, measures, recipes
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from scaling.report import Picture
from scaling.table.runs import Runs

LAW = "fine_tuning"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The law is fitted to all `widths` but the last."""

    seed: int = 0
    n_seeds: int = 2
    data: DataConfig = recipes.STRINGS
    gold: GoldConfig = dataclasses.field(default_factory=GoldConfig)
    widths: tuple[int, ...] = (16, 24, 32, 48)
    n_examples: tuple[int, ...] = (64, 256, 1024, 4096)
    n_steps: tuple[int, ...] = (16, 48, 160)
    pretrain_steps: int = 200
    n_prompts: int = 256
    n_samples: int = 2
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if len(self.widths) < 3 or len(self.n_examples) < 3 or not self.n_steps or self.n_seeds < 1:
            raise ValueError(
                "Settings: a law needs three widths, three n_examples, and one of n_steps and n_seeds or more"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    fine_tuned(settings, settings.widths)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    *smaller, largest = settings.widths
    stages = (
        Stage("pretrain", lambda runs: pretrained_of_all(settings)),
        Stage("fine-tune", lambda runs: [config for *_, config in fine_tuned(settings, smaller)]),
        Stage(
            "verify",
            lambda runs: [config for *_, config in fine_tuned(settings, [largest])],
            before=lambda folder, runs, configs: predict(settings, folder, runs),
        ),
    )
    summary = "fine-tuning on more and more demonstrations, for several sizes; a larger one predicted"
    return Study("sft_data", summary, settings, stages, functools.partial(finish, settings))


def pretrained(settings: Settings, width: int, seed: int) -> RunConfig:
    """The model of a width and seed, counted from 0, that has read text."""
    return recipes.pretrain(settings.data, width, settings.pretrain_steps, seed=settings.seed + seed)


def pretrained_of_all(settings: Settings) -> list[RunConfig]:
    """Those of all widths and seeds."""
    seeds = range(settings.n_seeds)
    return [pretrained(settings, width, seed) for width in settings.widths for seed in seeds]


def fine_tuned(settings: Settings, widths: Iterable[int]) -> list[tuple[int, int, int, RunConfig]]:
    """(width, number of examples, seed, run) of fine-tuning at these widths."""
    return [
        (
            width,
            n,
            seed,
            recipes.fine_tune(
                pretrained(settings, width, seed),
                dataclasses.replace(settings.gold, n_examples=n, seed=settings.gold.seed + seed),
                n_steps,
                seed=settings.seed + seed,
            ),
        )
        for width in widths
        for n in settings.n_examples
        for seed in range(settings.n_seeds)
        for n_steps in settings.n_steps
    ]


def predict(settings: Settings, folder: Path, runs: Runs) -> None:
    """Fits the law to the smaller widths, and writes down what it says of the largest."""
    *smaller, largest = settings.widths
    table = lowest(settings, folder, runs, smaller)
    fit = laws.fit_law(table, LAW, settings.n_bootstrap, settings.level)
    size = models.count(pretrained(settings, largest, 0).model).n_params
    about = pd.DataFrame({"n_params": float(size), "n_examples": settings.n_examples})
    said = laws.with_predictions(about, fit)
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    write_json(folder / "fit.json", fit.to_json())
    write_json(folder / "prediction.json", {"level": settings.level, "rows": said.to_dict("records")})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Compares the largest width with what was said of it; writes sft_data.csv, .json and .png."""
    fit = laws.read_fit(folder / "fit.json")
    largest = lowest(settings, folder, runs, settings.widths[-1:])
    table = pd.concat([pd.read_csv(folder / "smaller.csv"), largest], ignore_index=True)
    table = laws.with_predictions(table, fit)
    found = pd.DataFrame(table[table["d_model"] == settings.widths[-1]])
    compared = laws.compare(table, "n_params", "loss", ["n_examples", "seed"])
    result = {"params": laws.parameters(fit), **compared, "largest": found.to_dict("records")}
    write_atomic(folder / "sft_data.csv", table.to_csv(index=False))
    write_json(folder / "sft_data.json", result)
    picture = Picture(
        "sft_data",
        "Loss and true reward by demonstrations",
        "Points: measured, each seed. Dashed: the law, fitted to all sizes but the largest; band: its "
        "interval for the largest. Lines at the right are means over seeds.",
        figures.sft_data(table),
    )
    write_findings(folder, [picture], {"sft_data.csv": "Each size, number of demonstrations and seed"})
    return conclusion(table, fit, result)


def lowest(settings: Settings, folder: Path, runs: Runs, widths: Iterable[int]) -> pd.DataFrame:
    """For each of these widths, number of examples and seed the run of the lowest loss: run_id (of the
    pretrained model, as what it shares goes together), d_model, n_params, n_examples, seed, n_steps, loss,
    gold.

    Args:
      settings: of the study.
      folder: of the study.
      runs: those so far.
      widths: some of the settings'.
    """
    losses = dict(zip(runs.table["run_id"], runs.table["loss"]))
    best: dict[tuple[int, int, int], RunConfig] = {}
    for width, n, seed, config in fine_tuned(settings, widths):
        kept = best.setdefault((width, n, seed), config)
        if losses[config.run_id] < losses[kept.run_id]:
            best[width, n, seed] = config
    rows: list[dict[str, Any]] = []
    for (width, n, seed), config in best.items():
        samples = measures.sample_policy(
            folder / "runs" / config.run_id, settings.gold, settings.n_prompts, settings.n_samples
        )
        assert config.init is not None
        about = {"run_id": config.init.source, "d_model": width}
        about |= {"n_params": models.count(config.model).n_params, "n_examples": n}
        about |= {"seed": seed, "n_steps": config.n_steps, "loss": losses[config.run_id]}
        rows.append(about | {"gold": float(samples.gold.mean())})
    return pd.DataFrame(rows)


def conclusion(table: pd.DataFrame, fit: scaling.Fit, result: dict[str, Any]) -> str:
    """The law, and what it said of the largest width."""
    lines = [f"loss = E + A / (N^alpha n_examples^beta): {laws.in_words(fit)}"]
    lines.append("of the largest width, predicted before it was fine-tuned:")
    largest: Any = table[table["n_params"] == table["n_params"].max()]
    for n, rows in largest.groupby("n_examples"):
        losses = ", ".join(f"{loss:.3f}" for loss in rows["loss"])
        lines.append(
            f"  {n:>6,} examples: predicted {rows['predicted'].iloc[0]:.3f} [{rows['lo'].iloc[0]:.3f}, "
            f"{rows['hi'].iloc[0]:.3f}], measured {losses} nats a token; true reward "
            f"{rows['gold'].mean():.2f}"
        )
    lines.append(
        f"  {result['rms_error']:.3f} off (RMS; {result['rms_unchanged']:.3f} if it did as the next smaller "
        f"one), {result['inside']:.0%} inside the {fit.level:.0%} interval"
    )
    return "\n".join(lines)
