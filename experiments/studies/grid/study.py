"""A grid as a study: its runs, before them a sweep of the rate at small sizes, after them a larger run.

Runs that differ in more than size, budget, rate and seed are groups: each has a law of the rate of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import RunConfig
from experiments.studies.grid.cells import Cell, Cells, cells_of, configure, label, with_defaults
from experiments.studies.grid.definition import Grid, read_grid
from experiments.studies.grid.run_fields import BUDGETS
from experiments.studies.study import Stage, Study, prepared_corpora
from models import FAMILIES, count

# What fits and draws takes as long to load as 10,000 runs to plan: it is imported where it is used.
if TYPE_CHECKING:
    from scaling.hparams import HparamLaws
    from scaling.table.runs import Runs

MODEL_SIZES = tuple(
    f"model.{name}" for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "d_ff")
)
NO_GROUP = {"seed", "optimizer.lr", *BUDGETS, *MODEL_SIZES}  # what a law of the loss, or of the rate, covers
MIN_SIZES, MIN_POINTS = 3, 6  # different N, and (N, D), that a law of five numbers is fitted to
LARGER = 4  # how much wider than the grid's the verifying run may be
SHOWN = 5  # of the best settings


def grid_study(name: str, text: str, overrides: list[str]) -> Study:
    """The study of a grid file; its folder keeps the file.

    Args:
      name: of the file; its suffix says how to read it.
      text: its content.
      overrides: FIELD=VALUE each, see `read_grid`.

    Raises:
      ValueError: the file is wrong, or some combinations cannot be runs (InvalidCells).
    """
    grid = read_grid(name, text, overrides)
    cells = cells_of(untuned(grid))
    if "verify" in grid.options.stages:
        _check_verifiable(grid, cells)
    kept = {f"grid{Path(name).suffix}": text}
    return dataclasses.replace(
        build(name, grid, cells, kept),
        prepare=lambda: build(name, grid, _on_prepared_data(cells), kept),
    )


def notes(cells: Cells) -> tuple[str, ...]:
    """What the grid left to us, what its conditions leave out, and which combinations are one run."""
    lines = [f"not said in the grid, so taken: {', '.join(cells.assumed)}"] if cells.assumed else []
    lines += [f"left out by where: {cells.left_out} combinations"] if cells.left_out else []
    for one, other in cells.duplicates[:SHOWN]:
        same = f"is the same run as {other}" if one != other else "is there twice"
        lines.append(f"duplicate: {one} {same}")
    if len(cells.duplicates) > SHOWN:
        lines.append(f"… and {len(cells.duplicates) - SHOWN} duplicates more; each is trained once")
    return tuple(lines)


def untuned(grid: Grid) -> Grid:
    """The grid whose rates stage "tune" will find, at the first of those that it tries."""
    if "tune" not in grid.options.stages:
        return grid
    others = {name: values for name, values in grid.vary.items() if name != "optimizer.lr"}
    return dataclasses.replace(
        grid, base=dict(grid.base) | {"optimizer.lr": grid.vary["optimizer.lr"][0]}, vary=others
    )


def build(name: str, grid: Grid, cells: Cells, files: dict[str, str]) -> Study:
    """The study of these runs.

    Args:
      name: of the grid's file.
      grid: as it was read.
      cells: its runs, of stage "grid".
      files: what the folder keeps.
    """
    stages = {
        "tune": Stage("tune", lambda runs: [run for one in tune(grid, cells).values() for run in one]),
        "grid": Stage(
            "grid",
            lambda runs: with_rates(grid, cells, runs),
        ),
        "verify": Stage(
            "verify",
            lambda runs: [verify(grid, cells, runs)],
            whole_machine=True,
            before=functools.partial(_predict, grid),
        ),
    }
    summary = f"a grid over {', '.join(grid.swept) or 'nothing'}"
    listed = tuple(stages[stage] for stage in grid.options.stages)
    end = functools.partial(finish, grid, cells)
    return Study(name, summary, grid, listed, end, files=files, notes=notes(cells))


def _on_prepared_data(cells: Cells) -> Cells:
    """The runs on data whose tokens are known by their fingerprint."""
    data = prepared_corpora({cell.config.data: cell.config.data for cell in cells.cells})
    on_data = tuple(
        Cell(cell.values, dataclasses.replace(cell.config, data=data[cell.config.data]))
        for cell in cells.cells
    )
    return dataclasses.replace(cells, cells=on_data)


def group(cell: Cell) -> str:
    """What runs of one law have in common, of what varies."""
    found = {name: value for name, value in cell.values.items() if name not in NO_GROUP}
    if "preset" in found:  # published shapes of one family are sizes
        found["preset"] = cell.config.model.family
    return label(found) if found else ""


def tune(grid: Grid, cells: Cells) -> dict[str, list[RunConfig]]:
    """By group, all rates at the smallest models, each on the cheapest of its budgets."""
    cheapest: dict[str, dict[int, RunConfig]] = {}
    for cell in sorted(cells.cells, key=lambda cell: flops(cell.config)):
        cheapest.setdefault(group(cell), {}).setdefault(count(cell.config.model).n_params, cell.config)
    plan: dict[str, list[RunConfig]] = {}
    for name, of_size in cheapest.items():
        small = [of_size[n] for n in sorted(of_size)[: grid.options.tune_sizes]]
        plan[name] = [_at_rate(config, lr) for config in small for lr in grid.vary["optimizer.lr"]]
    return plan


def with_rates(grid: Grid, cells: Cells, runs: Runs) -> list[RunConfig]:
    """The run of each cell; where rates were tuned, at the one that its group's law gives."""
    if "tune" not in grid.options.stages:
        return [cell.config for cell in cells.cells]
    laws = {name: _law(configs, runs) for name, configs in tune(grid, cells).items()}
    return [_tuned(cell.config, laws[group(cell)]) for cell in cells.cells]


def verify(grid: Grid, cells: Cells, runs: Runs) -> RunConfig:
    """The model whose predicted loss is lowest at the verifying budget, of those of `larger`."""
    from experiments.studies.quickstart.outcome import fit_grid

    fit = fit_grid(runs, n_bootstrap=0)
    candidates = larger(grid, cells)
    if "tune" in grid.options.stages:
        law = _law(next(iter(tune(grid, cells).values())), runs)
        candidates = [_tuned(config, law) for config in candidates]
    return min(candidates, key=lambda each: fit.predict(count(each.model).n_params, each.n_tokens).loss)


def larger(grid: Grid, cells: Cells) -> list[RunConfig]:
    """Runs of the verifying budget, a model each: those of the ladder, if the grid's sizes are its widths,
    else those in the grid.

    Raises:
      ValueError: no model of the grid can be trained on so much.
    """
    largest = max(cells.cells, key=lambda cell: flops(cell.config))
    budget = grid.options.verify_factor * flops(largest.config)
    others: list[dict] = [cell.values for cell in cells.cells]  # type: ignore[misc]
    preset = with_defaults(grid, largest.values)[0].get("preset")
    if preset in FAMILIES and not set(grid.swept) & {"preset", *MODEL_SIZES[1:]}:
        widths = [cell.config.model.d_model for cell in cells.cells]
        widths = range(min(widths) // 8 * 8 or 8, LARGER * max(widths) + 1, 8)
        others = [dict(largest.values) | {"model.d_model": width} for width in widths]
    found: dict[int, RunConfig] = {}
    for values in others:
        filled = with_defaults(untuned(grid), values | {"seed": largest.config.seed})[0]
        filled = {name: value for name, value in filled.items() if name not in BUDGETS}
        try:
            config = configure(filled | {"flops": budget})
        except ValueError:  # a width that the ladder does not have
            continue
        config = dataclasses.replace(config, data=largest.config.data)
        found.setdefault(count(config.model).n_params, config)
    if not found:
        raise ValueError(f"stage 'verify': no model of the grid can be trained on {budget:.2e} FLOPs")
    return list(found.values())


def _predict(grid: Grid, folder: Path, runs: Runs, configs: list[RunConfig]) -> None:
    """Writes what is known of the one run to come before it trains."""
    from experiments.studies.quickstart.outcome import predict_run

    predict_run(folder, runs, configs[0], grid.options.n_bootstrap, grid.options.level)


def finish(grid: Grid, cells: Cells, folder: Path, runs: Runs) -> str:
    """Writes the report; says which settings were best and, where one run was predicted, how well.

    Args:
      grid: as it was read.
      cells: its runs, of stage "grid".
      folder: of the study.
      runs: all of them, with their results.
    """
    from experiments.studies.quickstart.outcome import outcome
    from experiments.study_report import write_report

    conclusion = best(cells, with_rates(grid, cells, runs), runs)
    if "verify" in grid.options.stages:
        conclusion += "\n" + outcome(folder, runs)
    write_report(folder, folder / "report.html")
    return conclusion


def best(cells: Cells, plan: list[RunConfig], runs: Runs) -> str:
    """The settings of the lowest losses, means over their seeds."""
    loss = dict(zip(runs.table["run_id"], runs.table["loss"]))
    losses: dict[str, list[float]] = {}
    for cell, config in zip(cells.cells, plan):
        values = {name: value for name, value in cell.values.items() if name != "seed"}
        losses.setdefault(label(values), []).append(float(loss[config.run_id]))
    lines = [f"lowest losses of {len(losses)} settings, in nats per token:"]
    for name, of_seeds in sorted(losses.items(), key=lambda item: statistics.fmean(item[1]))[:SHOWN]:
        n_lost = sum(not math.isfinite(each) for each in of_seeds)
        said = f"diverged in {n_lost} of {len(of_seeds)}" if n_lost else f"{statistics.fmean(of_seeds):.4f}"
        if of_seeds[1:] and not n_lost:
            said += f" ± {statistics.stdev(of_seeds):.4f} over {len(of_seeds)} seeds"
        lines.append(f"  {said}  {name}")
    return "\n".join(lines)


def flops(config: RunConfig) -> float:
    """Of the whole run, as counted."""
    return config.n_steps * config.batch_tokens * count(config.model).flops_per_token(config.seq_len)


def _law(configs: list[RunConfig], runs: Runs) -> HparamLaws:
    """The law of the rate from these runs."""
    from scaling.hparams import fit_hparams

    ids = {config.run_id for config in configs}
    return fit_hparams(dataclasses.replace(runs, table=runs.table[runs.table.run_id.isin(ids)]))


def _tuned(config: RunConfig, law: HparamLaws) -> RunConfig:
    """The run at the rate of the law; three digits of it, so that the plan is the same everywhere."""
    return _at_rate(config, float(f"{law.predict(count(config.model).n_params, config.n_tokens).lr:.3g}"))


def _at_rate(config: RunConfig, lr: float) -> RunConfig:
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=lr))


def _check_verifiable(grid: Grid, cells: Cells) -> None:
    """Refuses, before anything trains, a grid that no one law holds for, or too small for one."""
    groups = list(dict.fromkeys(map(group, cells.cells)))
    if len(groups) > 1:
        raise ValueError(
            f"stage 'verify' fits one law to runs that differ in size, budget and seed; here also in "
            f"[{groups[0]}], [{groups[1]}]{' …' if groups[2:] else ''}: give each a grid of its own"
        )
    rates = {cell.config.optimizer.lr for cell in cells.cells}
    if len(rates) > 1:
        raise ValueError(
            f"stage 'verify' with {len(rates)} rates in optimizer.lr; give one, or add the stage 'tune'"
        )
    points = {(count(cell.config.model).n_params, cell.config.n_tokens) for cell in cells.cells}
    n_sizes = len({n_params for n_params, _ in points})
    if len(points) < MIN_POINTS or n_sizes < MIN_SIZES:
        raise ValueError(
            f"stage 'verify' fits a law: {len(points)} different (N, D) of {n_sizes} sizes are too few, give "
            f"{MIN_POINTS} of {MIN_SIZES} sizes"
        )
    larger(grid, cells)
