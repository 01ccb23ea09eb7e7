"""Dense transformer, mixture of experts and RWKV at matched FLOPs: one law each, compared in one report.

Every family is treated alike: the same widths and budgets, its own learning-rate sweep, its own law. The
report says what each family's compute is worth, with intervals.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic
from experiments.studies.budgets import GridBudget, Sweep
from experiments.studies.quickstart import study as quickstart
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_report
from scaling.optimum.families import Comparison, compare
from scaling.table.runs import Runs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. The first family is what the others are measured by."""

    families: tuple[str, ...] = ("transformer", "moe", "rwkv7")
    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 65_536
    lrs: tuple[float, ...] = (2.5e-3, 5e-3, 1e-2, 2e-2)
    tune: tuple[Sweep, ...] = (Sweep(24, 8e10), Sweep(40, 1.6e11))
    grid: tuple[GridBudget, ...] = (
        GridBudget(1.3e11, (16, 24, 32)),
        GridBudget(2.6e11, (16, 24, 32, 48)),
        GridBudget(5.2e11, (24, 32, 48, 64)),
    )
    n_bootstrap: int = 1000
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    if len(set(settings.families)) < 2:
        raise ValueError(f"Settings.families={list(settings.families)}; comparing takes at least two")
    for family in settings.families:
        quickstart.tune(of_family(settings, family))
        for budget in settings.grid:
            for d_model in budget.d_models:
                quickstart.configure(of_family(settings, family), d_model, budget.flops, settings.lrs[0])
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""

    def for_each(plan: Callable[[quickstart.Settings, Runs], list[RunConfig]]):
        """A stage's plan, made for every family from its own runs."""

        def plans(runs: Runs) -> list[RunConfig]:
            configs = []
            for family in settings.families:
                configs += plan(of_family(settings, family), only(runs, family))
            return configs

        return plans

    stages = (
        Stage("tune", for_each(lambda own, _: quickstart.tune(own))),
        Stage("grid", for_each(quickstart.grid)),
        Stage("extend", for_each(quickstart.extend)),
    )
    summary = "dense, mixture of experts and RWKV at matched FLOPs, one law each, compared"
    return Study("families", summary, settings, stages, lambda folder, runs: finish(settings, folder, runs))


def of_family(settings: Settings, family: str) -> quickstart.Settings:
    """The default study's settings for one family."""
    names = {field.name for field in dataclasses.fields(quickstart.Settings)}
    shared = {name: value for name, value in vars(settings).items() if name in names}
    return quickstart.Settings(family=family, refine=0, again=0.0, **shared)


def only(runs: Runs, family: str) -> Runs:
    """The runs of one family; the table is empty, without columns, before the first stage."""
    table = runs.table
    return dataclasses.replace(runs, table=table[table.family == family]) if len(table) else runs


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes families.json and the report, and says what each family is worth at the largest budget."""
    found = compare(runs, n_bootstrap=settings.n_bootstrap, level=settings.level)
    write_atomic(folder / "families.json", json.dumps(to_json(found), indent=1) + "\n")
    write_report(folder, folder / "report.html")
    return conclusion(found, settings.level)


def to_json(found: Comparison) -> dict:
    """The comparison as plain data: laws, frontiers and losses at equal size, N being active parameters."""
    return {
        "reference": found.reference,
        "n_params": "active parameters",
        "worth": "compute that the reference needs for the same loss, as a multiple",
        "fits": {name: fit.to_json() for name, fit in found.fits.items()},
        "frontiers": found.frontiers.to_dict("records"),
        "equal_size": {"n_tokens": found.n_tokens, "losses": found.sizes.to_dict("records")},
    }


def conclusion(found: Comparison, level: float) -> str:
    """A line a family, at the largest compute of the comparison."""
    last = found.frontiers.groupby("family", sort=False).last().reset_index()
    lines = [f"at {last.flops.iloc[0]:.1e} FLOPs, N active, {level:.0%} intervals:"]
    for _, row in last.iterrows():
        half = (row.hi - row.lo) / 2
        lines.append(
            f"  {row.family:<12} N* = {row.n_params:>9,.0f}  loss {row.loss:.3f} ± {half:.3f}  "
            f"worth {row.worth:.2f}× ({row.worth_lo:.2f} to {row.worth_hi:.2f}) a {found.reference}'s compute"
        )
    return "\n".join(lines)
