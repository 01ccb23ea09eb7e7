"""Runs in training in their bands, and whether the curves of the finished ones collapse.

Read from the study's folder whenever it is asked for, without jax; what finished runs say is worked out anew
when there are more of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launch.monitor.progress import StudyProgress
from launch.monitor.text import strict
from launch.store import UNFINISHED, PlannedRun, Store

if TYPE_CHECKING:
    from scaling.prediction.collapse import Collapse
    from scaling.prediction.run_curves import RunCurve
    from scaling.prediction.training_band import TrainingBand

LEVEL = 0.9  # of the intervals that are shown
SHOWN = 40  # running runs, the largest ones
READ = 300  # finished runs, the largest ones


@dataclass(frozen=True)
class Bands:
    """bands: (its curve so far, its band) of each running run that has one. collapses: of the recipes of runs
    that are not finished."""

    bands: dict[str, tuple[RunCurve, TrainingBand]]
    collapses: tuple[Collapse, ...]

    def lines(self, run_id: str) -> list[str]:
        """What is said below a running run: what is expected of it."""
        if run_id not in self.bands:
            return []
        curve, band = self.bands[run_id]
        return [f"    {band.state(curve, LEVEL)}, {LEVEL:.0%} intervals by {band.n_runs} finished runs"]

    def doubts(self) -> list[str]:
        """A line for each running run that has left its band, and for each finished one whose curve does not
        collapse onto the others'."""
        left = {run_id: band.warning(curve) for run_id, (curve, band) in self.bands.items()}
        said = [f"{run_id} has left its band: {warning}" for run_id, warning in left.items() if warning]
        said += [line for found in self.collapses for line in found.lines()]
        return [f"WARNING: {line}" for line in said]

    def as_json(self, run_id: str) -> dict[str, Any]:
        """The band of a running run as plain values; {} without one."""
        if run_id not in self.bands:
            return {}
        curve, band = self.bands[run_id]
        rows = [{k: strict(v) for k, v in row.items()} for row in band.table(curve, LEVEL)]
        return {"band": rows, "warning": band.warning(curve)}


def read_bands(store: Store, seen: StudyProgress) -> Bands:
    """The bands of the runs that train now, by the finished runs of their recipes.

    Nothing is read where no run is left to do, or the finished ones are too few.
    """
    done = [run_id for run_id, state in seen.states.items() if state == "done"]
    if store.finished.exists() or not done:
        return Bands({}, ())
    from scaling.prediction.run_curves import FEWEST  # which imports scipy
    from scaling.prediction.study_curves import StudyRun, band_of, by_recipe, judge, recipe_of

    if len(done) < FEWEST:
        return Bands({}, ())

    def of(run: PlannedRun, loss: float = float("nan")) -> StudyRun:
        return StudyRun(run.run_id, run.config, float(run.n_params), float(run.n_tokens), loss)

    planned = store.plan.runs()
    largest = sorted((planned[run_id] for run_id in done), key=lambda run: run.flops)[-READ:]
    finished = by_recipe(of(run, store.result(run.run_id)["loss"]) for run in largest)
    running = sorted((of(run) for run, _ in seen.running), key=lambda run: run.n_params * run.n_tokens)
    found = {
        run.run_id: band
        for run in running[-SHOWN:]
        if (band := band_of(store.folder, run, finished.get(recipe_of(run.config), ())))
    }
    waiting = store.plan.waiting_stages()
    left = {recipe_of(planned[r].config) for r, state in seen.states.items() if state in UNFINISHED}
    recipes = [recipe for recipe in finished if waiting or recipe in left]
    judged = [judge(store.folder, finished[recipe]) for recipe in recipes]
    return Bands(found, tuple(each for each in judged if each))
