"""The default study: tune small, train an IsoFLOP grid, fit a law, predict a larger run, train it, compare.

1. tune: learning-rate sweeps at a few small sizes.
2. refine: a few rates around the one that the sweeps extrapolate to, at the middle of the largest budget. The
   rate of every later run is that of the law through all of these.
3. grid: for each budget of FLOPs, models of several sizes, each trained on as many tokens as it pays for.
4. extend: where the best size of a budget lies at the edge of the grid, sizes beyond that edge; and runs of
   the grid again, under another seed, where that teaches most of the run to come.
5. verify: the size that the fitted law calls best at a budget 8 times the largest, trained once. Its loss is
   predicted, and the prediction written down, before it trains.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic
from experiments.studies.budgets import GridBudget, Sweep, with_preset
from experiments.studies.quickstart.outcome import evaluate_runs, fit_grid, outcome, predict_run, tuned
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from models import ModelConfig, count, ladder
from scaling.design import worth_repeating
from scaling.fitting.doubts import too_few
from scaling.hparams import HparamLaws, fit_hparams
from scaling.laws import LAWS
from scaling.profiles.isoflop import profiles
from scaling.table.runs import Runs

FROM_THE_WEB = ("c4", "mc4", "hugging_face")  # tasks whose text is downloaded
SWEPT = 1.0  # a rate that the sweeps replace
REFINED = 2.5  # ratio of neighbouring rates where the law of the sweeps is refined
AGAIN = 1000  # added to the seed of a run of the grid that is repeated
CLOSE = 1.02  # widths that differ less are one candidate for the verification run
N_DRAWS = 200  # of the fit by which runs are chosen to be repeated
TASK_LENGTH = 64  # tokens of a context that holds the items of tasks


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The numbers suit two CPU cores and less than a quarter of an hour; those
    of `--set preset=gpu_day` and `preset=pod` (budgets.PRESETS) suit other machines.

    The widths of a budget lie around the best of it, from about 5 to 100 tokens a parameter: far from there
    no sum of two power laws holds. One sweep has many tokens a parameter and one has few, which tells the
    rate's exponents of N and D apart; `refine` more rates (0: none) at the middle of the largest budget
    shorten the way to the run to come. (From sweeps along one line of small sizes its rate came out up to a
    factor of two apart.) The batch is `batch_tokens` throughout; with `batches` the sweeps try those as well,
    and every later run has the batch of the law, rounded to `batch_tokens` times a power of two. (By default
    not: two batches triple the tuning, and two small sizes leave the batch's growth to its prior.) `again` is
    the compute of repeated runs, as a share of the grid's. The optimizer's rate is that of the sweeps and
    their law; `dtype` and `remat` are those of the network (models/model.py).
    """

    seed: int = 0
    family: str = "transformer"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 65_536
    micro_batches: int = 1
    dtype: str = "float32"
    remat: bool = False
    optimizer: OptimizerConfig = dataclasses.field(default_factory=lambda: OptimizerConfig(SWEPT, b2=0.99))
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    lrs: tuple[float, ...] = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)
    batches: tuple[int, ...] = ()
    tune: tuple[Sweep, ...] = (Sweep(32, 8e10), Sweep(16, 1.6e11))
    refine: int = 3
    grid: tuple[GridBudget, ...] = (
        GridBudget(0.9e11, (16, 24, 32)),
        GridBudget(1.3e11, (16, 24, 32)),
        GridBudget(1.8e11, (16, 24, 32, 40, 48)),
        GridBudget(3.6e11, (24, 32, 40, 48, 56)),
        GridBudget(7.2e11, (32, 40, 48, 56, 64)),
    )
    again: float = 0.3
    verify_factor: float = 8.0
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        if not 1 < self.verify_factor < math.inf:
            raise ValueError(
                f"Settings.verify_factor={self.verify_factor}; it must be larger than 1, and finite: the run "
                "that checks the prediction is larger than those of the grid"
            )
        if self.optimizer.lr != SWEPT:
            raise ValueError(
                f"Settings.optimizer.lr={self.optimizer.lr}; the study finds the rate; set the lrs tried"
            )
        if len(self.lrs) < 3 or not self.tune or not self.grid:
            raise ValueError("Settings: a study needs three rates in lrs, and something in tune and in grid")
        if self.refine < 0 or not 0 <= self.again < math.inf:
            raise ValueError(
                f"Settings.refine={self.refine}, again={self.again}; a number of rates and a share of the "
                "grid's compute, 0 for none"
            )
        if self.batches and len({*self.batches, self.batch_tokens}) < 3:
            raise ValueError(
                f"Settings.batches={list(self.batches)}; a law takes two at least beside "
                f"batch_tokens={self.batch_tokens}"
            )


def study(overrides: list[str]) -> Study:
    """The default study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), with_preset(overrides))
    for part in (*settings.tune, *settings.grid):
        for d_model in (part.d_model,) if isinstance(part, Sweep) else part.d_models:
            for lr in settings.lrs:
                configure(settings, d_model, part.flops, lr)
    tune(settings)
    made = with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))
    return dataclasses.replace(made, from_the_web=settings.data.task in FROM_THE_WEB)


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("tune", lambda runs: tune(settings)),
        Stage("refine", lambda runs: refine(settings, runs)),
        Stage("grid", lambda runs: grid(settings, runs)),
        Stage("extend", lambda runs: extend(settings, runs)),
        Stage(
            "verify",
            lambda runs: verify(settings, runs),
            whole_machine=True,
            before=lambda folder, runs, configs: predict(settings, folder, runs, configs[0]),
        ),
    )
    summary = "learning-rate sweep, IsoFLOP grid, law, and one larger run to check the prediction"
    n_runs = sum(len(budget.d_models) for budget in settings.grid)
    few = too_few(n_runs, len(LAWS["chinchilla"].params), len(settings.grid))
    notes = (f"the prediction will be in doubt: a grid of {', '.join(few)}",) if few else ()
    return Study("quickstart", summary, settings, stages, functools.partial(finish, settings), notes=notes)


def tune(settings: Settings) -> list[RunConfig]:
    """Every rate of the sweep at each size, and at each batch tried."""
    batches = sorted({settings.batch_tokens, *settings.batches})
    return [
        dataclasses.replace(configure(settings, sweep.d_model, sweep.flops, lr), batch_tokens=batch)
        for sweep in settings.tune
        for batch in batches
        for lr in settings.lrs
    ]


def refine(settings: Settings, runs: Runs) -> list[RunConfig]:
    """Rates around the one that the sweeps extrapolate to, at the middle size of the largest budget."""
    if not settings.refine:
        return []
    budget = max(settings.grid, key=lambda budget: budget.flops)
    d_model = sorted(budget.d_models)[len(budget.d_models) // 2]
    middle = tuned_run(settings, fit_hparams(runs), d_model, budget.flops)
    factors = [REFINED ** (i - (settings.refine - 1) / 2) for i in range(settings.refine)]
    return [with_lr(middle, factor * middle.optimizer.lr) for factor in factors]


def grid(settings: Settings, runs: Runs) -> list[RunConfig]:
    """All sizes of all budgets, each at the rate that the sweeps extrapolate to it."""
    laws = fit_hparams(runs)
    return [
        tuned_run(settings, laws, d_model, budget.flops)
        for budget in settings.grid
        for d_model in budget.d_models
    ]


def extend(settings: Settings, runs: Runs) -> list[RunConfig]:
    """Two sizes beyond each edge of the grid at which a budget's best size lies, if any; and runs again."""
    laws, configs = fit_hparams(tuned(runs)), []
    for minimum, budget in zip(profiles(runs.usable(), n_bootstrap=0).minima, settings.grid):
        if minimum.at_edge:
            sizes = [count(network(settings, d_model)).n_params for d_model in budget.d_models]
            nearest = int(np.argmin(np.abs(np.log(np.array(sizes) / minimum.n_params))))
            below = budget.d_models[nearest] < np.median(budget.d_models)
            apart = min((b - a for a, b in itertools.pairwise(sorted(budget.d_models))), default=8)
            edge, step = (min(budget.d_models), -apart) if below else (max(budget.d_models), 2 * apart)
            widths = on_ladder(settings, (edge + step, edge + 2 * step))
            configs += [tuned_run(settings, laws, width, budget.flops) for width in widths]
    return configs + repeat(settings, runs)


def repeat(settings: Settings, runs: Runs) -> list[RunConfig]:
    """Runs of the grid under another seed: those that tell most of the verification run for their compute.

    What two runs at one place differ by is noise alone, and no error of the law.
    """
    planned = {config.run_id: config for config in grid(settings, tuned(runs))}
    spent = settings.again * sum(budget.flops * len(budget.d_models) for budget in settings.grid)
    if not spent:
        return []
    try:
        fit = fit_grid(runs, n_bootstrap=N_DRAWS)
        chosen = worth_repeating(fit, runs, f"loss@{verify_flops(settings):.6g}", spent)
    except ValueError:  # no law yet, or no best size: a grid that is to be extended first
        return []
    configs = [planned[run_id] for run_id in chosen["run_id"] if run_id in planned]
    return [dataclasses.replace(config, seed=config.seed + AGAIN) for config in configs]


def verify(settings: Settings, runs: Runs) -> list[RunConfig]:
    """The size of the ladder whose predicted loss is lowest at the verification budget.

    The best size grows no faster than compute, and size at least as the square of the width.
    """
    flops = verify_flops(settings)
    laws, fit = fit_hparams(tuned(runs)), fit_grid(runs, n_bootstrap=0)
    tried = [d_model for budget in settings.grid for d_model in budget.d_models]
    widest = max(tried) * max(4, math.ceil(settings.verify_factor**0.5))
    widths = [min(tried)]
    for d_model in on_ladder(settings, range(min(tried), widest + 1, 8)):
        if d_model > CLOSE * widths[-1]:
            widths.append(d_model)
    candidates = [tuned_run(settings, laws, d_model, flops) for d_model in widths]
    losses = [fit.predict(count(c.model).n_params, c.n_tokens).loss for c in candidates]
    return [candidates[int(np.argmin(losses))]]


def verify_flops(settings: Settings) -> float:
    """Of the verification run."""
    return settings.verify_factor * max(budget.flops for budget in settings.grid)


def predict(settings: Settings, folder: Path, runs: Runs, config: RunConfig) -> None:
    """Writes down the laws and what they say of the run to come.

    Args:
      settings: of the study.
      folder: where verify.json goes.
      runs: those before the run to come.
      config: of that run.
    """
    predict_run(folder, runs, config, settings.n_bootstrap, settings.level)


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Adds the measured loss to verify.json, fits the law again with that run, evaluates the runs on TASKS,
    writes the report and says how good the prediction was, and what is expected further on."""
    said = outcome(folder, runs)
    if settings.seq_len >= TASK_LENGTH:
        with contextlib.suppress(ValueError):  # a corpus of too few words has no such tasks
            write_atomic(folder / "tasks.csv", evaluate_runs(folder, settings.data))
    from experiments.study_report import write_report  # late: what draws takes a second to load

    write_report(folder, folder / "report.html")
    return said


def configure(settings: Settings, d_model: int, flops: float, lr: float) -> RunConfig:
    """A run of the ladder's model of this width for as many tokens as `flops` pays for.

    Args:
      settings: of the study.
      d_model: the width.
      flops: of the whole run, as counted.
      lr: the largest learning rate of the schedule.
    """
    model = network(settings, d_model)
    return RunConfig(
        model=model,
        data=settings.data,
        optimizer=dataclasses.replace(settings.optimizer, lr=lr),
        schedule=settings.schedule,
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=round(flops / count(model).flops_per_token(settings.seq_len)),
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
        micro_batches=settings.micro_batches,
    )


def network(settings: Settings, d_model: int) -> ModelConfig:
    """The family's model on the ladder of sizes."""
    how = {"dtype": settings.dtype, "remat": settings.remat}
    return ladder(d_model, settings.data.vocab_size, settings.family, **how)


def on_ladder(settings: Settings, widths: Iterable[int]) -> list[int]:
    """Those of the widths that the family's ladder has."""
    found = []
    for width in widths:
        with contextlib.suppress(ValueError):
            network(settings, width)
            found.append(width)
    return found


def tuned_run(settings: Settings, laws: HparamLaws, d_model: int, flops: float) -> RunConfig:
    """A run at the rate, and with batches tried at the batch, that the laws give.

    Args:
      settings: of the study.
      laws: of the learning rate, or of both.
      d_model: the width.
      flops: of the whole run, as counted.
    """
    config = configure(settings, d_model, flops, lr=SWEPT)
    n_params = count(config.model).n_params
    if not settings.batches:
        return with_lr(config, laws.predict(n_params, config.n_tokens).lr)
    best = laws.predict(n_params, config.n_tokens).batch_tokens
    least = settings.seq_len * settings.micro_batches
    doublings = round(math.log2(max(best, least) / settings.batch_tokens))
    batch = round(settings.batch_tokens * 2.0**doublings)
    at_batch = dataclasses.replace(config, batch_tokens=batch)
    return with_lr(at_batch, laws.predict(n_params, config.n_tokens, batch).lr)


def with_lr(config: RunConfig, lr: float) -> RunConfig:
    """The run at another rate; three digits of it, so that the plan is the same everywhere."""
    optimizer = dataclasses.replace(config.optimizer, lr=float(f"{lr:.3g}"))
    return dataclasses.replace(config, optimizer=optimizer)
