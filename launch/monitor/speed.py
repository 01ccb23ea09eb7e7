"""How fast runs train, and the time that the rest of a study takes at that speed."""

import math
import statistics
from typing import Any

from launch.store import PlannedRun, Store

RESULTS_A_SIZE = 3  # read for the speed of models of one size
SIZES_READ = 100


def running_rates(running: list[tuple[PlannedRun, dict]], n_packed: dict[str, int]) -> dict[int, float]:
    """FLOP/s of one worker by model size, from what running runs say, each of its part of a pack."""
    return {
        run.n_params: progress["tokens_per_second"] * run.flops / run.n_tokens * n_packed[run.run_id]
        for run, progress in running
        if progress.get("tokens_per_second")
    }


def measured_rates(store: Store, ended: list[PlannedRun]) -> dict[int, float]:
    """FLOP/s of one worker by model size (n_params), from the last few results of a size."""
    last: dict[int, list[str]] = {}
    for run in reversed(ended):
        if len(sample := last.setdefault(run.n_params, [])) < RESULTS_A_SIZE:
            sample.append(run.run_id)
    return {
        n_params: statistics.median(store.result(run_id)["flops_per_second"] for run_id in run_ids)
        for n_params, run_ids in list(last.items())[:SIZES_READ]
    }


# FLOP/s of one worker on one core of a small cloud machine, by model size: for plans before any measurement.
ROUGH_RATES = {11_000: 7e9, 33_000: 16e9, 217_000: 28e9}


def run_seconds(run: PlannedRun, rates: dict[int, float]) -> float:
    """Time a run takes at the measured rate of the model nearest in size; `rates` must not be empty."""
    nearest = min(rates, key=lambda n_params: abs(math.log(n_params / run.n_params)))
    return run.flops / rates[nearest]


def _left(running: list[tuple[PlannedRun, dict[str, Any]]], rates: dict[int, float]) -> list[float]:
    """Seconds of a worker that each running run still takes."""
    return [
        run_seconds(run, rates) * (1 - progress.get("step", 0) / progress.get("n_steps", 1))
        for run, progress in running
    ]


def seconds_left(waiting, running, rates: dict[int, float], n_workers: int) -> float | None:
    """Until all these runs are done by `n_workers`: the work shared evenly, but no run is split.

    Args:
      waiting: planned runs that nobody trains.
      running: (run, its progress) of the others.
      rates: FLOP/s of a worker by parameters of the model, see `measured_rates`.
      n_workers: that train at once.
    """
    if not rates or not (waiting or running):
        return None if waiting or running else 0.0
    whole, parts = [run_seconds(run, rates) for run in waiting], _left(running, rates)
    return max(sum(whole + parts) / max(n_workers, 1), *whole, *parts)


def worker_seconds(ended, waiting, running, rates: dict[int, float]) -> tuple[float, float]:
    """Of all workers together: spent so far, and left; at the measured speeds.

    Args:
      ended: planned runs that are done.
      waiting: those that nobody trains.
      running: (run, its progress) of the others.
      rates: FLOP/s of a worker by parameters of the model.
    """
    parts = _left(running, rates)
    begun = sum(run_seconds(run, rates) for run, _ in running) - sum(parts)
    spent = sum(run_seconds(run, rates) for run in ended) + begun
    return spent, sum(run_seconds(run, rates) for run in waiting) + sum(parts)
