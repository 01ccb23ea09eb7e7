"""What each filter of a corpus buys: loss on clean text at equal tokens, with and without it.

The corpus is one with planted dirt, or one's own (--set data.path=…). A run reads it as it is, cleaned by one
filter, by the default chain, without duplicates, and by both; of planted dirt also by its labels, the best
that a filter can do. All are measured on the same clean text that none has read, and differences are taken
seed by seed.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.batches.windows import validation_batches
from experiments.data.prepare import open_splits
from experiments.data_configs import DataConfig, DuplicatesConfig, QualityConfig
from experiments.evaluate.tasks import span_metrics
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.study import Stage, Study, prepared_corpora
from experiments.study_report import write_findings
from experiments.training.checkpoints.load import load
from scaling.report import Picture, theme
from scaling.table.runs import Runs

PLANTED = "planted_dirt"
BASE = "as it is"


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Each of `filters` is tried alone; `level` is that of the intervals."""

    seed: int = 0
    n_seeds: int = 3
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(task=PLANTED))
    filters: tuple[str, ...] = ("markup", "truncation", "fineweb", "gibberish", "gopher")
    d_model: int = 16
    n_tokens: int = 400_000
    seq_len: int = 128
    batch_tokens: int = 1024
    n_val_tokens: int = 32_768
    lr: float = 1e-2
    level: float = 0.9

    def __post_init__(self):
        if self.n_seeds < 2:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; an interval needs at least 2")
        if not 0 < self.level < 1:
            raise ValueError(f"Settings.level={self.level}; it lies between 0 and 1")
        if self.data.vocab != "bytes" or self.data.quality or self.data.duplicates or self.data.sources:
            raise ValueError(
                "Settings.data: filters are compared on one corpus in bytes, and set by Settings.filters; "
                "leave vocab, quality, duplicates and sources as they are"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    corpora = conditions(settings)
    for data in corpora.values():
        plan(settings, {BASE: data})
    ready = functools.partial(_prepared, settings)
    return dataclasses.replace(build(settings, corpora), prepare=ready)


def _prepared(settings: Settings) -> Study:
    return build(settings, prepared_corpora(conditions(settings)))


def build(settings: Settings, corpora: dict[str, DataConfig]) -> Study:
    """The study of corpora by condition."""
    stages = (Stage("train", lambda runs: [run for _, run in plan(settings, corpora)]),)
    summary = "loss at equal tokens with and without each filter and without duplicates"
    return Study("filters", summary, settings, stages, functools.partial(finish, settings, corpora))


def conditions(settings: Settings) -> dict[str, DataConfig]:
    """The corpus as it is, and cleaned in several ways."""
    default, duplicates = QualityConfig(), DuplicatesConfig()
    found: dict[str, dict[str, Any]] = {BASE: {}}
    found |= {name: {"quality": QualityConfig((name,))} for name in settings.filters}
    found |= {"default chain": {"quality": default}, "no duplicates": {"duplicates": duplicates}}
    found["default chain, no duplicates"] = {"quality": default, "duplicates": duplicates}
    if settings.data.task == PLANTED:
        found["by label"] = {"quality": QualityConfig(("votes",), votes_field="clean", min_votes=1)}
    return {name: dataclasses.replace(settings.data, **changes) for name, changes in found.items()}


def reference(settings: Settings) -> DataConfig:
    """The clean text that losses are of: what dirt was planted in, or what both cleanings leave."""
    if settings.data.task == PLANTED:
        return DataConfig()
    return conditions(settings)["default chain, no duplicates"]


def plan(settings: Settings, corpora: dict[str, DataConfig]) -> list[tuple[str, RunConfig]]:
    """(condition, run) of each seed."""
    return [
        (
            name,
            RunConfig(
                model=models.ladder(settings.d_model, data.vocab_size),
                data=data,
                optimizer=OptimizerConfig(lr=settings.lr),
                schedule=ScheduleConfig(),
                batch_tokens=settings.batch_tokens,
                seq_len=settings.seq_len,
                n_tokens=settings.n_tokens,
                n_val_tokens=settings.n_val_tokens,
                seed=settings.seed + seed,
            ),
        )
        for name, data in corpora.items()
        for seed in range(settings.n_seeds)
    ]


def finish(settings: Settings, corpora: dict[str, DataConfig], folder: Path, runs: Runs) -> str:
    """Measures every run on the clean text; writes filters.csv, .json and .png, and says what each buys.

    Args:
      settings: of the study.
      corpora: prepared, by condition.
      folder: of the study.
      runs: all of them.
    """
    done = set(runs.table.loc[runs.table.status == "done", "run_id"])
    tokens = open_splits(reference(settings))[1].tokens
    rows = [
        {
            "condition": name,
            "seed": run.seed,
            "loss": clean_loss(folder / "runs" / run.run_id, tokens),
            "n_unique": len(open_splits(run.data)[0].tokens),
        }
        for name, run in plan(settings, corpora)
        if run.run_id in done
    ]
    table = pd.DataFrame(rows)
    found = gains(table, settings.level)
    write_atomic(folder / "filters.csv", table.to_csv(index=False))
    write_json(folder / "filters.json", {"level": settings.level, "conditions": found.to_dict("records")})
    title = "What filters save on clean text"
    caption = "What each condition saves against no filter at equal tokens, with intervals over seeds."
    write_findings(folder, [Picture("filters", title, caption, figure(found))])
    return conclusion(found, settings.level)


def clean_loss(run: Path, tokens: np.ndarray) -> float:
    """Nats a token of a checkpoint on some validation text."""
    config, params = load(run)
    batches = validation_batches(tokens, config.batch_size, config.seq_len, config.n_val_tokens)
    return float(span_metrics.predict(models.build(config.model), params, batches).nats_RT.mean())


def gains(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """By condition: mean loss, unique tokens, and the loss that it saves with a t interval over seeds.

    Args:
      table: condition, seed, loss, n_unique; a seed without a partner under BASE is left out of the gain.
      level: of the interval.
    """
    base = table[table["condition"] == BASE].set_index("seed")["loss"]
    rows = []
    for name, own in table.groupby("condition", sort=False):
        saved = (base - own.set_index("seed")["loss"]).dropna().to_numpy(float)
        half = np.nan
        if len(saved) > 1:
            half = stats.t.ppf((1 + level) / 2, len(saved) - 1) * saved.std(ddof=1) / np.sqrt(len(saved))
        mean = saved.mean() if len(saved) else np.nan
        about = {"condition": name, "loss": own["loss"].mean(), "n_unique": int(own["n_unique"].iloc[0])}
        rows.append(about | {"n_seeds": len(saved), "gain": mean, "lo": mean - half, "hi": mean + half})
    return pd.DataFrame(rows)


def figure(found: pd.DataFrame) -> bytes:
    """Gains with their intervals, as PNG."""
    rows = found[found["condition"] != BASE]
    names = rows["condition"].tolist()
    base = alt.Chart(rows).encode(y=alt.Y("condition:N", sort=names, title=None))
    bars = base.mark_rule(color=theme.INK, strokeWidth=2).encode(x="lo:Q", x2="hi:Q")
    title = "Nats a token saved on clean text, at equal tokens"
    ends = [0.0, *rows["lo"], *rows["hi"]]
    across = theme.x("gain", title, ends, log=False, label=theme.signed)
    points = base.mark_point(filled=True, size=60, color=theme.INK, opacity=1).encode(x=across)
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=theme.MUTED).encode(x="x:Q")
    chart = alt.layer(zero, bars, points).properties(width=420, height=28 * len(names))
    return theme.png(chart.configure(**theme.config()).to_dict(validate=False))


def conclusion(found: pd.DataFrame, level: float) -> str:
    """A line a condition."""
    lines = [f"nats a token on clean text at equal tokens; saved, {level:.0%} interval over seeds:"]
    for row in found.to_dict("records"):
        said = f"  {row['condition']:<30} {row['loss']:.4f}  {row['n_unique']:>12,} unique tokens"
        if row["condition"] != BASE:
            said += f"  saves {row['gain']:+.4f} ({row['lo']:+.4f} to {row['hi']:+.4f})"
        lines.append(said)
    return "\n".join(lines)
