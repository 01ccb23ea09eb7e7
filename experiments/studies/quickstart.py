"""The default study: tune small, train an IsoFLOP grid, fit a law, predict a larger run, train it, compare.

1. tune: learning-rate sweeps at a few sizes, from which the rate of every later run is extrapolated.
2. grid: for each budget of FLOPs, models of several sizes, each trained on as many tokens as it pays for.
3. extend: where the best size of a budget lies at the edge of the grid, sizes beyond that edge.
4. verify: the size that the fitted law calls best at a budget 8 times the largest, trained once. Its loss is
   predicted, and the prediction written down, before it trains.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.evaluate import checkpoint_comparison
from experiments.evaluate.checkpoint_paths import find_all
from experiments.fields import apply_overrides
from experiments.files import read_json, write_atomic, write_json
from experiments.studies.budgets import GridBudget, Sweep
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_report
from models import ModelConfig, count, ladder
from scaling.fitting.doubts import too_few
from scaling.hparams import HparamLaws, fit_hparams
from scaling.laws import LAWS
from scaling.profiles.isoflop import profiles
from scaling.table.runs import Runs

TASKS = ("word_end", "next_word")  # those that models of this size move on; of the default corpus
SWEPT = 1.0  # a rate that the sweeps replace
FURTHER = 10.0  # times the compute of the verification run, where the law that knows it looks next
TASK_LENGTH = 64  # tokens of a context that holds their items


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The numbers suit two CPU cores and six minutes.

    The batch is small and constant: with larger ones these budgets give so few steps that the smallest model
    always wins. The widths of a budget lie around the best of it, from about 5 to 100 tokens a parameter: far
    from there no sum of two power laws holds. The sweeps follow the best size. The optimizer's rate is that
    of the sweeps and their law; `dtype` and `remat` are those of the network (models/model.py).
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
    tune: tuple[Sweep, ...] = (Sweep(24, 8e10), Sweep(32, 1.6e11), Sweep(40, 3.2e11))
    grid: tuple[GridBudget, ...] = (
        GridBudget(0.9e11, (16, 24, 32)),
        GridBudget(1.3e11, (16, 24, 32)),
        GridBudget(1.8e11, (16, 24, 32, 40, 48)),
        GridBudget(3.6e11, (24, 32, 40, 48, 56)),
        GridBudget(7.2e11, (32, 40, 48, 56, 64)),
    )
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


def study(overrides: list[str]) -> Study:
    """The default study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    for part in (*settings.tune, *settings.grid):
        for d_model in (part.d_model,) if isinstance(part, Sweep) else part.d_models:
            for lr in settings.lrs:
                configure(settings, d_model, part.flops, lr)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("tune", lambda runs: tune(settings)),
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
    """Every rate of the sweep at each size."""
    return [
        configure(settings, sweep.d_model, sweep.flops, lr) for sweep in settings.tune for lr in settings.lrs
    ]


def grid(settings: Settings, runs: Runs) -> list[RunConfig]:
    """All sizes of all budgets, each at the rate that the sweeps extrapolate to it."""
    laws = fit_hparams(runs)
    return [
        with_lr(settings, laws, d_model, budget.flops)
        for budget in settings.grid
        for d_model in budget.d_models
    ]


def extend(settings: Settings, runs: Runs) -> list[RunConfig]:
    """Two sizes beyond each edge of the grid at which a budget's best size lies; none if all lie inside."""
    laws, configs = fit_hparams(tuned(runs)), []
    for minimum, budget in zip(profiles(runs.usable(), n_bootstrap=0).minima, settings.grid):
        if minimum.at_edge:
            sizes = [count(network(settings, d_model)).n_params for d_model in budget.d_models]
            nearest = int(np.argmin(np.abs(np.log(np.array(sizes) / minimum.n_params))))
            below = budget.d_models[nearest] < np.median(budget.d_models)
            apart = min((b - a for a, b in itertools.pairwise(sorted(budget.d_models))), default=8)
            edge, step = (min(budget.d_models), -apart) if below else (max(budget.d_models), 2 * apart)
            widths = on_ladder(settings, (edge + step, edge + 2 * step))
            configs += [with_lr(settings, laws, width, budget.flops) for width in widths]
    return configs


def verify(settings: Settings, runs: Runs) -> list[RunConfig]:
    """The size of the ladder, up to four times the widest of the grid, whose predicted loss is lowest at the
    verification budget."""
    flops = settings.verify_factor * max(budget.flops for budget in settings.grid)
    laws, fit = fit_hparams(tuned(runs)), fit_grid(runs, n_bootstrap=0)
    tried = [d_model for budget in settings.grid for d_model in budget.d_models]
    widths = on_ladder(settings, range(min(tried), 4 * max(tried) + 1, 8))
    candidates = [with_lr(settings, laws, d_model, flops) for d_model in widths]
    losses = [fit.predict(count(c.model).n_params, c.n_tokens).loss for c in candidates]
    return [candidates[int(np.argmin(losses))]]


def predict(settings: Settings, folder: Path, runs: Runs, config: RunConfig) -> None:
    """Writes down the laws and what they say of the run to come.

    Args:
      settings: of the study.
      folder: where verify.json goes.
      runs: those before the run to come.
      config: of that run.
    """
    predict_run(folder, runs, config, settings.n_bootstrap, settings.level)


def predict_run(folder: Path, runs: Runs, config: RunConfig, n_bootstrap: int, level: float) -> None:
    """Writes fit.json, lr.json where rates were tuned, and verify.json, what the law says of a run to come.

    Args:
      folder: of the study.
      runs: those before the run to come.
      config: of that run.
      n_bootstrap: resamples that the intervals are from.
      level: of the intervals.
    """
    fit = fit_grid(runs, n_bootstrap=n_bootstrap, level=level)
    counts = count(config.model)
    n_tokens = config.n_steps * config.batch_tokens
    prediction = fit.predict(counts.n_params, n_tokens)
    verification = {
        "run_id": config.run_id,
        "flops": n_tokens * counts.flops_per_token(config.seq_len),
        "n_params": counts.n_params,
        "n_tokens": n_tokens,
        "lr": config.optimizer.lr,
        "predicted": float(prediction.loss),
        "lo": float(prediction.lo),
        "hi": float(prediction.hi),
        "level": level,
        "doubt": fit.doubt,
    }
    if len(tuned(runs).table):
        write_json(folder / "lr.json", fit_hparams(tuned(runs), level=level).to_json())
    write_json(folder / "fit.json", fit.to_json())
    write_json(folder / "verify.json", verification)


def verified(folder: Path, runs: Runs) -> dict:
    """verify.json with the measured loss, which is written into it."""
    verification = read_json(folder / "verify.json")
    table = runs.table.set_index("run_id")
    verification["measured"] = float(table.loss[verification["run_id"]])
    write_json(folder / "verify.json", verification)
    return verification


def outcome(folder: Path, runs: Runs) -> str:
    """Writes the measured loss into verify.json and, as further.json, the law fitted with that run, too;
    returns the conclusion."""
    verification = verified(folder, runs)
    said = conclusion(verification)
    if not math.isfinite(verification["measured"]):
        return said
    n_bootstrap = len(read_json(folder / "fit.json")["samples"])
    further = fit_grid(runs.with_verification(), n_bootstrap=n_bootstrap, level=verification["level"])
    write_json(folder / "further.json", further.to_json())
    best = scaling.frontier(further, FURTHER * verification["flops"])
    half = (best.loss_hi - best.loss_lo) / 2
    return (
        f"{said}\nfitted again with this run (further.json), the law expects {best.loss:.4f} ± {half:.4f} at "
        f"{best.flops:.2e} FLOPs, N = {best.n_params:.3g}, D = {best.n_tokens:.3g}"
    )


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Adds the measured loss to verify.json, fits the law again with that run, evaluates the runs on TASKS,
    writes the report and says how good the prediction was, and what is expected further on."""
    said = outcome(folder, runs)
    if settings.data.task == DataConfig().task and settings.seq_len >= TASK_LENGTH:
        write_atomic(folder / "tasks.csv", evaluate_runs(folder))
    write_report(folder, folder / "report.html")
    return said


def evaluate_runs(folder: Path) -> str:
    """How accurate the runs of the grid and of the verification are on TASKS, as CSV."""
    found = [one for one in find_all(folder) if one.row["stage"] != "tune"]
    tasks = [checkpoint_comparison.find_task(name) for name in TASKS]
    with ThreadPoolExecutor(2) as pool:  # most of the time goes into compiling, which keeps one core busy
        evaluated = list(pool.map(lambda one: checkpoint_comparison.evaluate_tasks(one, tasks), found))
    return checkpoint_comparison.as_csv(checkpoint_comparison.rows(evaluated))


def conclusion(v: dict) -> str:
    """The line that matters: predicted and measured, and why the prediction was in doubt if it was."""
    half = (v["hi"] - v["lo"]) / 2
    inside = "inside" if v["lo"] <= v["measured"] <= v["hi"] else "OUTSIDE"
    return (
        f"at {v['flops']:.2e} FLOPs, N = {v['n_params']:,}, D = {v['n_tokens']:,}, lr = {v['lr']:g}:\n"
        f"predicted {v['predicted']:.4f} ± {half:.4f} nats per token ({v['level']:.0%} interval), "
        f"measured {v['measured']:.4f}: {v['measured'] / v['predicted'] - 1:+.2%}, {inside} the interval"
        + (f"\n{doubt}" if (doubt := v.get("doubt")) else "")
    )


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


def with_lr(settings: Settings, laws: HparamLaws, d_model: int, flops: float) -> RunConfig:
    """A run at the rate that the law gives; three digits of it, so that the plan is the same everywhere.

    Args:
      settings: of the study.
      laws: of the learning rate.
      d_model: the width.
      flops: of the whole run, as counted.
    """
    config = configure(settings, d_model, flops, lr=1.0)
    lr = laws.predict(count(config.model).n_params, config.n_tokens).lr
    optimizer = dataclasses.replace(config.optimizer, lr=float(f"{lr:.3g}"))
    return dataclasses.replace(config, optimizer=optimizer)


def fit_grid(runs: Runs, **options) -> scaling.Fit:
    """Chinchilla's law itself: the grid keeps near the best sizes, where it holds, and has few runs."""
    return scaling.fit(runs, relax=False, **options)


def tuned(runs: Runs) -> Runs:
    """The runs of the learning-rate sweeps."""
    return dataclasses.replace(runs, table=runs.table[runs.table.stage == "tune"])
