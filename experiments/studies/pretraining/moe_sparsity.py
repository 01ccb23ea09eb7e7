"""How many experts, and how fine? One law of their number, their width and the size; the best at a budget.

1. tune: a sweep of learning rates for the dense model and for one with experts.
2. grid: models of several widths, dense and with experts of several numbers and widths, on several numbers of
   tokens. A token's experts are together as wide as the dense layer, so that what it meets is the same.
3. larger: a wider model with experts on more tokens, which the law of the grid (`sparsity`) predicts first.
4. at the end: what experts are worth in parameters, whether finer ones are better, and the number of experts
   of the lowest loss at a budget, without a limit on memory and within one (scaling/optimum/experts.py).
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_json
from experiments.studies.pretraining import figures, larger_run, moe_sparsity_laws
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import TransformerConfig, count
from models.configs import transformer
from models.configs.layers import Experts
from scaling.hparams.sweeps import MIN_SETTINGS
from scaling.hparams.transfer import transfer
from scaling.report import Picture
from scaling.table.runs import Runs, check

COLUMNS = ["n_params", "n_active", "n_tokens", "expansion", "granularity", "flops", "loss"]


@dataclass(frozen=True)
class Choice:
    """Experts of a layer: `expansion` times the parameters that a token meets, each 1/granularity as wide as
    the dense layer, of which a token passes `granularity`. Expansion 1 is the dense model."""

    expansion: int
    granularity: int = 1

    def __post_init__(self):
        if self.expansion < 1 or self.granularity < 1 or (self.expansion == 1 and self.granularity > 1):
            raise ValueError(
                f"Settings.choices: expansion={self.expansion}, granularity={self.granularity}; both are "
                "1 or more, and expansion 1 is the dense model, of granularity 1"
            )


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs that differ in their tokens share their steps up to the decay.

    choices: what is trained; first the dense model, second the one with experts whose rates are swept.
    lengths: tokens of a run. capacity_factor: room of the experts for choices beyond an even share.
    budgets: at which the best number of experts is said, in units of the larger run's FLOPs.
    memory: the limit on all parameters there, in units of the dense model that is best.
    """

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    widths: tuple[int, ...] = (16, 24, 32)
    choices: tuple[Choice, ...] = (*(Choice(1), Choice(8, 2), Choice(2, 2), Choice(8, 1), Choice(8, 4)),)
    lengths: tuple[int, ...] = (262_144, 524_288, 1_048_576)
    lrs: tuple[float, ...] = (5e-3, 1e-2, 2e-2, 4e-2)
    tune_width: int = 24
    tune_tokens: int = 262_144
    larger_width: int = 40
    larger_tokens: int = 2_097_152
    capacity_factor: float = 2.0
    warmup_tokens: int = 16_384
    budgets: tuple[float, ...] = (1.0, 10.0, 100.0)
    memory: float = 2.0
    n_val_tokens: int = 32_768
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        sparse = self.choices[1:]
        if len(sparse) < 3 or self.choices[0] != Choice(1) or Choice(1) in sparse:
            raise ValueError("Settings.choices: first the dense model, then three or more with experts")
        if len({each.granularity for each in sparse}) < 2 or len({each.expansion for each in sparse}) < 2:
            raise ValueError("Settings.choices: the law needs experts of two numbers and of two widths")
        if len(self.widths) * len(self.lengths) < 6 or len(self.lrs) < MIN_SETTINGS:
            raise ValueError(f"Settings: the law needs six sizes and lengths, a best rate {MIN_SETTINGS} lrs")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    tune(settings)
    grid(settings, (settings.lrs[0], settings.lrs[0]))
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("tune", lambda done: tune(settings)),
        Stage("grid", lambda done: grid(settings, rates(settings, done))),
        Stage(
            "larger",
            lambda done: [larger(settings, rates(settings, done))],
            whole_machine=True,
            before=lambda folder, done, configs: predict(settings, folder, done, configs[0]),
        ),
    )
    summary = "experts of several numbers and widths: one law, and the best sparsity at a budget"
    return Study("moe_sparsity", summary, settings, stages, functools.partial(finish, settings))


def tune(settings: Settings) -> list[RunConfig]:
    """Every rate for the dense model, then for one with experts."""
    width, tokens = settings.tune_width, settings.tune_tokens
    return [
        configure(settings, width, choice, tokens, lr)
        for choice in settings.choices[:2]
        for lr in settings.lrs
    ]


def rates(settings: Settings, done: Runs) -> tuple[float, float]:
    """The best rate of the dense model and of those with experts; three digits of each."""
    loss = dict(zip(done.table["run_id"], done.table["loss"]))
    losses, n = [loss[config.run_id] for config in tune(settings)], len(settings.lrs)
    found = transfer([dict(zip(settings.lrs, each)) for each in (losses[:n], losses[n:])], 0, settings.level)
    dense, sparse = (float(f"{optimum.lr:.3g}") for optimum in found.optima)
    return dense, sparse


def grid(settings: Settings, lrs: tuple[float, float]) -> list[RunConfig]:
    """Every width with every choice of experts on every number of tokens."""
    return [
        configure(settings, width, choice, n_tokens, lrs[choice.expansion > 1])
        for width in settings.widths
        for choice in settings.choices
        for n_tokens in settings.lengths
    ]


def larger(settings: Settings, lrs: tuple[float, float]) -> RunConfig:
    """The run that is predicted: with the experts whose rates were swept."""
    return configure(settings, settings.larger_width, settings.choices[1], settings.larger_tokens, lrs[1])


def network(settings: Settings, width: int, choice: Choice) -> TransformerConfig:
    """The transformer of this width, its feed-forward layer as it is or as experts."""
    dense = transformer.ladder(width, settings.data.vocab_size)
    if choice.expansion == 1:
        return dense
    experts = Experts(
        n_experts=choice.expansion * choice.granularity,
        top_k=choice.granularity,
        d_expert=dense.d_ff // choice.granularity,
        capacity_factor=settings.capacity_factor,
        renormalize=choice.granularity > 1,  # the weight of one expert is what its router learns by
    )
    return dataclasses.replace(dense, family="moe", experts=experts)


def configure(settings: Settings, width: int, choice: Choice, n_tokens: int, lr: float) -> RunConfig:
    """One run.

    Args:
      settings: of the study.
      width: of the model of the ladder.
      choice: its experts.
      n_tokens: to train on.
      lr: the largest learning rate of the schedule.
    """
    return RunConfig(
        model=network(settings, width, choice),
        data=settings.data,
        optimizer=OptimizerConfig(lr=lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=settings.warmup_tokens),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def fit(settings: Settings, done: Runs) -> scaling.Fit:
    """The law of sizes, tokens and experts, through the finished runs of the grid."""
    table = done.table.loc[done.table["stage"] == "grid", COLUMNS]
    runs = check(table, done.conventions, needed=("n_active", "n_tokens", "expansion", "granularity", "loss"))
    return scaling.fit(runs, law="sparsity", n_bootstrap=settings.n_bootstrap, level=settings.level)


def predict(settings: Settings, folder: Path, done: Runs, config: RunConfig) -> None:
    """Writes fit.json and prediction.json: what the law says of the run to come, and of it as a dense model.

    Args:
      settings: of the study; folder: of the study.
      done: the runs so far; config: of the run to come.
    """
    law, n_active = fit(settings, done), count(config.model).n_active
    experts, n_tokens = settings.choices[1], config.n_steps * config.batch_tokens
    columns = {"n_active": n_active, "n_tokens": n_tokens}
    at = law.predict(**columns, **dataclasses.asdict(experts))
    dense = law.predict(**columns, expansion=1, granularity=1)
    write_json(folder / "fit.json", law.to_json())
    about = {"run_id": config.run_id, **columns, **dataclasses.asdict(experts), "level": settings.level}
    said = {"predicted": at.loss, "lo": at.lo, "hi": at.hi, "dense": dense.loss}
    write_json(folder / "prediction.json", about | said)


def finish(settings: Settings, folder: Path, done: Runs) -> str:
    """Writes moe_sparsity.json, the pictures, and the measured loss into prediction.json."""
    table = done.table.loc[(done.table["stage"] == "grid") & (done.table["status"] == "done")]
    law = scaling.Fit.from_json(folder / "fit.json")
    run = larger_run.with_measurement(folder, done, "flops")
    finest = max(choice.granularity for choice in settings.choices)
    most = max(choice.expansion for choice in settings.choices)
    expansions = tuple(2**i for i in range(most.bit_length()))
    budgets = np.array(settings.budgets) * run["flops"]
    best = moe_sparsity_laws.best_sparsity(
        law, budgets, expansions, settings.choices[1].granularity, settings.memory
    )
    found = {
        "law": {"params": law.params, "ci": law.ci, "status": law.status},
        "worth": moe_sparsity_laws.worth(law, most, finest),
        "best": best.drop(columns="losses").to_dict("records"),
        "larger": run,
    }
    write_json(folder / "moe_sparsity.json", found)
    words = moe_sparsity_laws.in_words(found)
    picture = Picture(
        "sparsity",
        words.partition("\n")[0],
        figures.SPARSITY,
        figures.sparsity(pd.DataFrame(table), law, best, expansions),
    )
    write_findings(folder, [picture])
    return words
