"""Collapse and bands in a study's folder: its runs by recipe, with the curves that they recorded."""

import contextlib
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.prediction.collapse import Collapse, collapse
from scaling.prediction.run_curves import MOST, RunCurve, curve_of
from scaling.prediction.training_band import TrainingBand, training_band

# What may differ between runs of one recipe, besides the network's size, their length and their seed.
TUNED = ("lr",)


@dataclass(frozen=True)
class StudyRun:
    """A run of a study: its configuration as JSON, size, whole length, and final loss (NaN: not finished)."""

    run_id: str
    config: Mapping[str, Any]
    n_params: float
    n_tokens: float
    loss: float = math.nan


def recipe_of(config: Mapping[str, Any]) -> str:
    """Equal for runs of one recipe; "" for runs that started from others, or were trained for something else
    than the next token."""
    if config.get("objective") or config.get("init") or "optimizer" not in config:
        return ""
    model, optimizer = config.get("model", {}), config["optimizer"]
    parts = [
        *(model.get(name) for name in ("family", "vocab_size", "mup", "tied_embeddings")),
        {name: value for name, value in optimizer.items() if name not in TUNED},
        *(config.get(name) for name in ("data", "schedule", "seq_len")),
    ]
    return json.dumps(parts, sort_keys=True)


def by_recipe(runs: Iterable[StudyRun]) -> dict[str, list[StudyRun]]:
    """The runs that have a recipe, the largest last."""
    found: dict[str, list[StudyRun]] = {}
    for run in sorted(runs, key=lambda run: run.n_params * run.n_tokens):
        if recipe := recipe_of(run.config):
            found.setdefault(recipe, []).append(run)
    return found


def read_curve(folder: Path, run: StudyRun) -> RunCurve:
    """The curve of a run of the study in `folder`, as far as it is; a half-written line is left out."""
    path = folder / "runs" / run.run_id / "metrics.jsonl"
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return curve_of(events, run.run_id, run.n_params, run.n_tokens, run.loss)


def judge(folder: Path, finished: Sequence[StudyRun]) -> Collapse | None:
    """Whether the curves of finished runs of one recipe, the largest last, collapse; see `collapse`.

    Of many runs the last are read: three times as many as are judged, as of a sweep only the best one is.
    """
    return _judged(folder, tuple((r.run_id, r.n_params, r.n_tokens, r.loss) for r in finished[-3 * MOST :]))


@functools.lru_cache(maxsize=16)
def _judged(folder: Path, runs: tuple[tuple[str, float, float, float], ...]) -> Collapse | None:
    return collapse([read_curve(folder, StudyRun(run_id, {}, *rest)) for run_id, *rest in runs])


def band_of(
    folder: Path, run: StudyRun, finished: Sequence[StudyRun]
) -> tuple[RunCurve, TrainingBand] | None:
    """The curve of a run and the band that the finished ones of its recipe foretell; None where they cannot.

    Its final loss is the one that the study predicted before it trained (verify.json), if it did.
    """
    recipe = judge(folder, finished)
    predicted = _predicted(folder, run.run_id)
    band = training_band(recipe, run.n_params, run.n_tokens, predicted) if recipe else None
    return (read_curve(folder, run), band) if band else None


def _predicted(folder: Path, run_id: str) -> tuple[float, float, float, float] | None:
    path = folder / "verify.json"
    verify = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if verify.get("run_id") != run_id:
        return None
    return verify["predicted"], verify["lo"], verify["hi"], verify["level"]
