"""How deep should a model be? The loss against width over depth at matched parameters, under muP.

1. runs: at each number of parameters in the blocks several depths, each with the width that keeps it, on
   equally many tokens. Under muP with depth scaling one learning rate serves all shapes.
2. at the end: the width over depth of the lowest loss, and how far a model may be from it at no more than
   COST of the loss. Kaplan et al. 2020 (arXiv 2001.08361, section 3.2) found the shape to matter little.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_json
from experiments.studies.pretraining import figures
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import MuP, TransformerConfig
from models.configs import transformer
from scaling.profiles.parabola import Parabola, fit_parabolas
from scaling.report import Picture
from scaling.table.runs import Runs

COST = 0.01  # of the loss, which is called little
OFF = 0.1  # of the parameters, by which a shape may miss them
D_HEAD, WIDTHS = 8, range(8, 513, 8)


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. lr: at the base's width and depth, which muP carries to other shapes.

    n_blocks: parameters of the matrices in all blocks. tokens_a_parameter: of these, that a run trains on.
    """

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    seq_len: int = 128
    batch_tokens: int = 512
    n_blocks: tuple[int, ...] = (16_000, 48_000)
    depths: tuple[int, ...] = (1, 2, 3, 4, 6)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tokens_a_parameter: float = 8.0
    lr: float = 1e-2
    base_width: int = 24
    base_depth: int = 2
    n_val_tokens: int = 32_768
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level)
        if len(set(self.depths)) < 4:
            raise ValueError(f"Settings.depths={list(self.depths)}; the lowest of a curve takes four or more")


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    plan(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (Stage("runs", lambda done: plan(settings)),)
    summary = "width against depth at matched parameters: the best shape, and how flat the loss is around it"
    return Study("width_depth", summary, settings, stages, functools.partial(finish, settings))


def plan(settings: Settings) -> list[RunConfig]:
    """Every depth at every number of parameters, under each seed."""
    return [
        RunConfig(
            model=shape(settings, n_blocks, depth),
            data=settings.data,
            optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
            schedule=ScheduleConfig(warmup=0.1),
            batch_tokens=settings.batch_tokens,
            seq_len=settings.seq_len,
            n_tokens=round(settings.tokens_a_parameter * n_blocks),
            seed=settings.seed + seed,
            n_val_tokens=settings.n_val_tokens,
        )
        for n_blocks in settings.n_blocks
        for depth in settings.depths
        for seed in settings.seeds
    ]


def shape(settings: Settings, n_blocks: int, depth: int) -> TransformerConfig:
    """The transformer of this depth whose blocks have so many parameters: the width whose feed-forward layer
    comes nearest to 8/3 of it.

    Raises:
      ValueError: no width comes within OFF of the parameters.
    """
    best = None
    for width in WIDTHS:
        left = n_blocks / depth - 4 * width**2
        d_ff = 8 * max(1, round(left / (3 * width) / 8))
        off = abs(depth * (4 * width**2 + 3 * width * d_ff) / n_blocks - 1)
        far = abs(np.log(d_ff / width / (8 / 3)))
        if off <= OFF and (best is None or far < best[0]):
            best = far, width, d_ff
    if best is None:
        raise ValueError(
            f"Settings: no model of {depth} layers has {n_blocks:,} parameters in its blocks; give more of "
            "them, or fewer depths"
        )
    _, width, d_ff = best
    like = transformer.ladder(settings.base_width, settings.data.vocab_size)
    heads = {"n_heads": width // D_HEAD, "n_kv_heads": width // D_HEAD, "d_head": D_HEAD}
    apart = {"tied_embeddings": False, "embedding_scale": 1.0}  # as in lr_transfer
    base = MuP(settings.base_width, settings.base_depth, D_HEAD)
    return dataclasses.replace(like, d_model=width, n_layers=depth, d_ff=d_ff, mup=base, **heads, **apart)


def finish(settings: Settings, folder: Path, done: Runs) -> str:
    """Writes width_depth.json and the picture, and says which shape is best and how much others cost."""
    table = done.table.loc[done.table["status"] == "done", ["run_id", "d_model", "n_layers", "loss"]]
    sizes = np.repeat(settings.n_blocks, len(settings.depths) * len(settings.seeds))
    blocks = dict(zip((config.run_id for config in plan(settings)), sizes.tolist()))
    table = table.assign(n_blocks=[blocks[run_id] for run_id in table["run_id"]])
    table = table.assign(aspect=table["d_model"] / table["n_layers"])
    groups = [table.loc[table["n_blocks"] == n] for n in settings.n_blocks]
    curves = fit_parabolas(
        [(np.log(own["aspect"].to_numpy(float)), np.log(own["loss"].to_numpy(float))) for own in groups],
        1000,
        np.random.default_rng(settings.seed),
    )
    found = [
        {"n_blocks": n} | optimum(curve, own["aspect"].to_numpy(float), settings.level)
        for n, own, curve in zip(settings.n_blocks, groups, curves)
    ]
    write_json(folder / "width_depth.json", {"level": settings.level, "cost": COST, "best": found})
    words = in_words(found, settings.level)
    png = figures.width_depth(pd.DataFrame(table), curves, found)
    write_findings(folder, [Picture("width_depth", words.partition("\n")[0], figures.WIDTH_DEPTH, png)])
    return words


def optimum(curve: Parabola, aspect: np.ndarray, level: float) -> dict[str, Any]:
    """The best width over depth with its interval, and between which ones of those tried the loss is at most
    COST above the lowest.

    Args:
      curve: of log loss by the log of width over depth.
      aspect: width over depth of the runs.
      level: of the interval.
    """
    draws = curve.draws[np.isfinite(curve.draws)]
    lo, hi = np.exp(np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])) if len(draws) else (0.0, np.inf)
    log_tried = np.linspace(np.log(aspect.min()), np.log(aspect.max()), 401)
    near = np.polyval(curve.curve, log_tried) <= np.polyval(curve.curve, log_tried).min() + np.log1p(COST)
    flat = np.exp(log_tried[near])
    best = {"aspect": float(np.exp(curve.log_x)), "lo": float(lo), "hi": float(hi), "at_edge": curve.at_edge}
    return best | {
        "flat_from": float(flat.min()),
        "flat_to": float(flat.max()),
        "loss": float(np.exp(curve.log_loss)),
    }


def in_words(found: list[dict[str, Any]], level: float) -> str:
    """A line for each number of parameters."""
    lines = []
    for row in found:
        bound = ", only a bound: it is at the edge of what was tried" if row["at_edge"] else ""
        lines.append(
            f"{row['n_blocks']:,} parameters: width {row['aspect']:.1f} times the depth is best "
            f"[{row['lo']:.1f}, {row['hi']:.1f}] ({level:.0%}){bound}; from {row['flat_from']:.1f} to "
            f"{row['flat_to']:.1f} the loss is within {COST:.0%}"
        )
    return "\n".join(lines)
