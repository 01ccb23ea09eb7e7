"""What an optimizer is worth: AdamW against Muon on the same grid, and a larger pair to check the gain.

1. tune: each optimizer has learning-rate sweeps of its own, on few tokens a parameter and on many, and rates
   refined at the middle of the largest budget.
2. grid: the same sizes on the same tokens in the same order under each, at the rate that its own sweeps say.
3. verify: a larger pair; the gain there, and the losses it means, are written down before it trains.
The gain is how many times the compute the first optimizer needs for the other's loss, by pairs of runs
(scaling/prediction/recipe_comparison.py): `isoflop compare DIR --by optimizer` says the same of the folder.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import read_json, write_atomic, write_json
from experiments.studies.budgets import GridBudget, Sweep
from experiments.studies.quickstart import study as quickstart
from experiments.studies.quickstart.outcome import fit_grid, tuned
from experiments.studies.quickstart.study import SWEPT
from experiments.studies.study import Stage, Study, with_prepared_data
from experiments.study_report import write_findings
from experiments.training.optim import find_direction
from models import count
from scaling.hparams import fit_hparams
from scaling.prediction.recipe_comparison import RecipeComparison, compare_recipes
from scaling.report import Picture, charts, theme
from scaling.table.runs import Runs

COLUMN = "optimizer.name"  # of runs.csv
CAPTION = (
    "Points: pairs of runs of one size on the same tokens in the same order, each optimizer at its own rate; "
    "line and band: the gain with its interval, dashed where there are no runs. The star was predicted "
    "before it trained. FLOPs are those of the network: an optimizer's own are not counted."
)
DOUBT = (
    "in doubt: one seed, models of this size, and FLOPs without the optimizers' own; compare wall_seconds, "
    "and pair larger runs before a decision"
)
PREDICTION = "prediction.json"  # of the larger pairs, before they train


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The first of `optimizers` is what the others are measured by.

    The numbers suit two CPU cores and ten minutes. `optimizer` is what all have but the name and the rate.
    """

    optimizers: tuple[str, ...] = ("adamw", "muon")
    seed: int = 0
    family: str = "transformer"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 65_536
    optimizer: OptimizerConfig = dataclasses.field(default_factory=lambda: OptimizerConfig(SWEPT, b2=0.99))
    lrs: tuple[float, ...] = (5e-3, 1e-2, 2e-2, 4e-2, 8e-2)
    tune: tuple[Sweep, ...] = (Sweep(24, 4e10), Sweep(16, 8e10))
    grid: tuple[GridBudget, ...] = (
        GridBudget(0.5e11, (16, 24, 32)),
        GridBudget(1e11, (16, 24, 32)),
        GridBudget(2e11, (24, 32, 40)),
    )
    verify_factor: float = 4.0
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        if len(set(self.optimizers)) < 2 or len(set(self.optimizers)) < len(self.optimizers):
            raise ValueError(
                f"Settings.optimizers={list(self.optimizers)}; comparing takes two different ones or more"
            )
        for name in self.optimizers:
            find_direction(name)  # refuses one that there is not
            of_optimizer(self, name)  # and what no study of one optimizer may have


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    own = of_optimizer(settings, settings.optimizers[0])
    quickstart.tune(own)
    for budget in settings.grid:
        for d_model in budget.d_models:
            quickstart.configure(own, d_model, budget.flops, settings.lrs[0])
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""

    def for_each(plan: Callable[[quickstart.Settings, Runs], list[RunConfig]]):
        return lambda runs: [
            run
            for name in settings.optimizers
            for run in plan(of_optimizer(settings, name), only(runs, name))
        ]

    stages = (
        Stage("tune", for_each(lambda own, _: quickstart.tune(own))),
        Stage("refine", for_each(quickstart.refine)),
        Stage("grid", for_each(quickstart.grid)),
        Stage(
            "verify",
            functools.partial(verify, settings),
            whole_machine=True,
            before=functools.partial(predict, settings),
        ),
    )
    summary = "AdamW against Muon: how much compute an optimizer is worth, checked by a larger pair"
    return Study("recipes", summary, settings, stages, functools.partial(finish, settings))


def of_optimizer(settings: Settings, name: str) -> quickstart.Settings:
    """The default study's settings for one optimizer."""
    names = {field.name for field in dataclasses.fields(quickstart.Settings)}
    shared = {field: value for field, value in vars(settings).items() if field in names}
    optimizer = dataclasses.replace(settings.optimizer, name=name)
    return dataclasses.replace(quickstart.Settings(**shared), optimizer=optimizer)


def only(runs: Runs, name: str) -> Runs:
    """The runs of one optimizer; the table is empty, without columns, before the first stage."""
    table = runs.table
    return dataclasses.replace(runs, table=table[table[COLUMN] == name]) if len(table) else runs


def verify(settings: Settings, runs: Runs) -> list[RunConfig]:
    """The size that the first optimizer's law calls best, under each optimizer at its own rate."""
    first, *others = settings.optimizers
    (chosen,) = quickstart.verify(of_optimizer(settings, first), only(runs, first))
    flops = quickstart.verify_flops(of_optimizer(settings, first))
    return [chosen] + [
        quickstart.tuned_run(
            of_optimizer(settings, name),
            fit_hparams(tuned(only(runs, name))),
            chosen.model.d_model,
            flops,
        )
        for name in others
    ]


def compared(settings: Settings, runs: Runs) -> list[RecipeComparison]:
    """The grid's runs of each other optimizer against those of the first."""
    first, *others = settings.optimizers
    return [
        compare_recipes(only(runs, first), only(runs, name), (first, name), settings.level) for name in others
    ]


def predict(settings: Settings, folder: Path, runs: Runs, configs: list[RunConfig]) -> None:
    """Writes down the gain at the larger runs' compute, and the ratio of losses that it means.

    Args:
      settings: of the study.
      folder: where prediction.json goes, and as fit.json the first optimizer's law.
      runs: those before.
      configs: of the larger runs, the first optimizer's first.
    """
    reference, *others = configs
    counts, n_tokens = count(reference.model), reference.n_steps * reference.batch_tokens
    flops = float(n_tokens * counts.flops_per_token(reference.seq_len))
    first = only(runs, settings.optimizers[0])
    law = fit_grid(first, n_bootstrap=settings.n_bootstrap, level=settings.level)
    pairs = []
    for found, config in zip(compared(settings, runs), others, strict=True):
        gains = [gain_at(found, end, flops) for end in ("gain", "lo", "hi")]
        middle, high, low = (log_ratio(law, counts.n_params, n_tokens, gain) for gain in gains)
        half = math.hypot((high - low) / 2, found.pair_noise or 0.0)
        about = {"optimizer": found.b, "run_id": config.run_id, "lr": config.optimizer.lr}
        about |= dict(zip(("gain", "lo", "hi"), gains))
        ends = np.exp([middle, middle - half, middle + half]).tolist()
        pairs.append(about | dict(zip(("ratio", "ratio_lo", "ratio_hi"), ends)))
    about = {"run_id": reference.run_id, "n_params": counts.n_params, "n_tokens": n_tokens, "flops": flops}
    about |= {"optimizer": settings.optimizers[0], "lr": reference.optimizer.lr, "level": settings.level}
    write_json(folder / PREDICTION, about | {"pairs": pairs})
    write_json(folder / "fit.json", law.to_json())


def gain_at(found: RecipeComparison, end: str, flops: float) -> float:
    """The gain, or an end of its interval, between the curve's places."""
    log_c, log_gain = np.log(found.curve[["flops", end]].to_numpy(float)).T
    return float(np.exp(np.interp(np.log(flops), log_c, log_gain)))


def log_ratio(law: scaling.Fit, n_params: float, n_tokens: float, gain: float) -> float:
    """Log of the loss of a recipe of this gain over that of the law's own.

    Args:
      law: of the recipe that others are measured by.
      n_params, n_tokens: of both.
      gain: how many times the compute the law's own needs for the other's loss.
    """
    grown = math.sqrt(gain)
    loss, own = law.predict(n_params * grown, n_tokens * grown).loss, law.predict(n_params, n_tokens).loss
    return math.log(loss / own)


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Adds what was measured to prediction.json, writes recipes.json, pairs.csv and the picture, and says
    what each optimizer is worth."""
    found, predicted = compared(settings, runs), read_json(folder / PREDICTION)
    law = scaling.Fit.from_json(folder / "fit.json")
    loss = dict(zip(runs.table["run_id"], runs.table["loss"]))
    place = (predicted["n_params"], predicted["n_tokens"])
    for pair in predicted["pairs"]:
        pair["measured_ratio"] = ratio = float(loss[pair["run_id"]] / loss[predicted["run_id"]])
        pair["measured_gain"] = gain_of(law, *place, ratio)
    write_json(folder / PREDICTION, predicted)
    write_json(folder / "recipes.json", {"recipes": [each.to_json() for each in found]})
    pairs = pd.concat([each.pairs.assign(recipe=each.b) for each in found], ignore_index=True)
    write_atomic(folder / "pairs.csv", pairs.to_csv(index=False))
    held_out = pd.DataFrame(
        {"recipe": pair["optimizer"], "flops": predicted["flops"], "gain": pair["measured_gain"]}
        for pair in predicted["pairs"]
    )
    curves = pd.concat([each.curve.assign(recipe=each.b) for each in found], ignore_index=True)
    spec = charts.recipe_gain(curves, pairs, settings.optimizers[0], held_out)
    picture = Picture("gain", title(found[0]), CAPTION, theme.png(spec))
    write_findings(folder, [picture], {"pairs.csv": "Pairs of runs, equal in size, tokens and their order"})
    return "\n".join([*conclusion(found, predicted), *untuned(settings, runs), DOUBT])


def gain_of(law: scaling.Fit, n_params: float, n_tokens: float, ratio: float) -> float:
    """The gain at which a recipe's loss would be this many times the law's own.

    Args:
      law: of the recipe that others are measured by.
      n_params, n_tokens: of both.
      ratio: of the losses.
    """
    gains = np.geomspace(0.01, 100, 801)
    falls = [-log_ratio(law, n_params, n_tokens, gain) for gain in gains]
    return float(np.exp(np.interp(-math.log(ratio), falls, np.log(gains))))


def title(found: RecipeComparison) -> str:
    """The finding, in a few words."""
    if not found.largest.shown:
        return f"No gain of {found.b} over {found.a} is shown"
    return f"{found.a} needs {found.largest} times the compute for {found.b}'s loss"


def conclusion(found: list[RecipeComparison], predicted: dict[str, Any]) -> list[str]:
    """What each optimizer is worth, why to doubt it, and what became of the prediction."""
    lines = []
    for each, pair in zip(found, predicted["pairs"], strict=True):
        inside = "inside" if pair["ratio_lo"] <= pair["measured_ratio"] <= pair["ratio_hi"] else "OUTSIDE"
        gain, ratio = (
            f"{pair[name]:.{digits}f} ({pair[lo]:.{digits}f} to {pair[hi]:.{digits}f})"
            for name, lo, hi, digits in (("gain", "lo", "hi", 2), ("ratio", "ratio_lo", "ratio_hi", 4))
        )
        place = f"{predicted['flops']:.2e} FLOPs, N = {predicted['n_params']:,}"
        lines += [each.verdict, *each.warnings]
        lines += [
            f"predicted of a larger pair at {place}: a gain of {gain}, a loss of {ratio} times {each.a}'s; "
            f"measured {pair['measured_ratio']:.4f} times, {inside} the interval, which is a gain of "
            f"{pair['measured_gain']:.2f}"
        ]
    return lines


def untuned(settings: Settings, runs: Runs) -> list[str]:
    """The optimizers whose best rate may lie beyond those that were tried, in words."""
    laws = {name: fit_hparams(tuned(only(runs, name))) for name in settings.optimizers}
    names = [name for name, law in laws.items() if any(optimum.lr_at_edge for optimum in law.optima)]
    return [f"the best rate of {name} may lie beyond the lrs that were tried; try others" for name in names]
