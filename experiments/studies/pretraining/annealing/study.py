"""One trunk, many branches: a law of the loss curve says where unseen schedules end.

1. branches: a warm-up and a constant learning rate, ended at several steps and decayed from each over several
   lengths, by a line to zero. They share the trunk's steps.
2. unseen: a cosine, decays that fall early or late, one over most of the run, one that stops half-way, and a
   run of twice the length. What each ends at is written down before: by both laws of whole curves
   (Tissue et al. 2024, arXiv 2408.11029; Luo et al. 2025, arXiv 2503.12811) fitted to the curves of stage 1.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import scaling
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import read_json, write_atomic, write_json
from experiments.studies.pretraining.annealing import figures
from experiments.studies.pretraining.annealing.curve_fit import CurveFit, curve_table, fit_best, read_records
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import ladder
from scaling.report import Picture
from scaling.table.runs import Runs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change.

    starts: steps of the trunk at which branches end or begin to decay; decays: steps of those decays.
    """

    seed: int = 0
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    d_model: int = 32
    lr: float = 0.01
    warmup: int = 50
    starts: tuple[int, ...] = (600, 1200, 2400)
    decays: tuple[int, ...] = (120, 480)
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 131_072
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level)
        if len(self.starts) < 2 or len(self.decays) < 2 or min(self.starts) < 2 * self.warmup:
            raise ValueError(
                f"Settings: starts={self.starts}, decays={self.decays}, warmup={self.warmup}; give two or "
                "more of both, the first start after twice the warm-up"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    unseen(settings)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("branches", lambda runs: branches(settings)),
        Stage(
            "unseen",
            lambda runs: [*unseen(settings).values()],
            before=lambda folder, runs, configs: predict(settings, folder, runs),
        ),
    )
    summary = "one trunk, many decays: a law of the loss curve against schedules that it has not seen"
    return Study("annealing", summary, settings, stages, functools.partial(finish, settings))


def branches(settings: Settings) -> list[RunConfig]:
    """The trunk ended at each start, and every decay from it."""
    ends = [(start, decay) for start in settings.starts for decay in (0, *settings.decays)]
    return [configure(settings, start + decay, decay) for start, decay in ends]


def unseen(settings: Settings) -> dict[str, RunConfig]:
    """The runs whose end is predicted, by what they are called."""
    middle, last = settings.starts[-2:]
    short, long = settings.decays[0], settings.decays[-1]
    return {
        "cosine": configure(settings, last, 0, name="cosine"),
        "early decay": configure(settings, (middle + last) // 2 + long, long, decay_power=0.5),
        "late decay": configure(settings, middle + long + short, long + short, decay_power=2.0),
        "decay over 80 %": configure(settings, last, round(0.8 * last)),
        "decay to 0.3": configure(settings, middle + long, long, final=0.3),
        "twice as long": configure(settings, 2 * last + long, long),
    }


def configure(settings: Settings, n_steps: int, decay: int, **schedule) -> RunConfig:
    """The run of so many steps, of which the last `decay` decay.

    Args:
      settings: of the study.
      n_steps: of the whole run.
      decay: steps at its end.
      schedule: what else its ScheduleConfig has.
    """
    warmup_tokens = settings.warmup * settings.batch_tokens
    return RunConfig(
        model=ladder(settings.d_model, settings.data.vocab_size),
        data=settings.data,
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, decay=decay / n_steps, warmup_tokens=warmup_tokens, **schedule),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_steps * settings.batch_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def predict(settings: Settings, folder: Path, runs: Runs) -> None:
    """Writes prediction.json: where both laws expect the unseen runs to end, the better law first.

    Args:
      settings: of the study.
      folder: of the study, with the records of the first stage.
      runs: those of the first stage.
    """
    fits = fit_best(read_records(folder, branches(settings)))
    said = []
    for law, fit in fits.items():
        for name, config in unseen(settings).items():
            predicted, low, high = fit.end(config, settings.level)
            said.append({"schedule": name, "run_id": config.run_id, "law": law, "predicted": predicted})
            said[-1] |= {"lo": low, "hi": high}
    about = {"level": settings.level, "off": {law: fit.off.tolist() for law, fit in fits.items()}}
    write_json(folder / "prediction.json", about | {"runs": said})
    for law, fit in fits.items():
        write_json(folder / f"fit_{law}.json", fit.fit.to_json())


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes annealing.csv and two pictures, and says how the laws did."""
    said = read_json(folder / "prediction.json")
    losses = dict(zip(runs.table["run_id"], runs.table["loss"]))
    table = pd.DataFrame(said["runs"]).assign(measured=lambda t: t["run_id"].map(losses))
    table["error"] = table["predicted"] / table["measured"] - 1
    table["inside"] = (table["lo"] <= table["measured"]) & (table["measured"] <= table["hi"])
    write_atomic(folder / "annealing.csv", table.to_csv(index=False))
    fits = {
        law: CurveFit(scaling.Fit.from_json(folder / f"fit_{law}.json"), np.array(off))
        for law, off in said["off"].items()
    }
    best, fit = next(iter(fits.items()))
    named = unseen(settings)
    shown = {"decay from the last start": branches(settings)[-1], **named}
    curves = pd.concat(
        [drawn(folder, name, config, fit, seen=name not in named) for name, config in shown.items()]
    )
    curves = curves.loc[curves["step"] >= curves["step"].iloc[0]]  # the first is the longest that was fitted
    pictures = [
        Picture(
            "curves",
            "Schedules that the law has not seen",
            f"Points: training loss as it was recorded; lines: the law ({best}) fitted to the branches of "
            "the trunk alone; stars: validation loss at the end. The first panel is one of those branches.",
            figures.curves(curves),
        ),
        Picture(
            "predicted",
            "Predicted before against measured",
            f"Final validation losses of the unseen schedules; bars: {settings.level:.0%} intervals, as far "
            "as the law was off branches that it was fitted without.",
            figures.predicted(table),
        ),
    ]
    write_findings(folder, pictures, {"annealing.csv": "Each unseen schedule by each law"})
    return conclusion(table, fits, settings.level)


def drawn(folder: Path, name: str, config: RunConfig, fit: CurveFit, seen: bool) -> pd.DataFrame:
    """What a run recorded and what the law says: schedule, step, loss, training, law.

    Args:
      folder: of the study; name: of the schedule; config: of the run.
      fit: of the law.
      seen: whether it was fitted to this run.
    """
    table = curve_table(fit.fit.law, read_records(folder, [config]))
    title = f"{name} (fitted)" if seen else name
    return table[["step", "loss", "training"]].assign(schedule=title, law=fit.losses(table))


def conclusion(table: pd.DataFrame, fits: Mapping[str, CurveFit], level: float) -> str:
    """How far each law was off the unseen ends, and the branches that it was fitted without."""
    lines, best = [], next(iter(fits))
    for law, fit in fits.items():
        rows, off = table.loc[table["law"] == law], np.abs(fit.off)
        error = rows["error"].abs()
        lines.append(
            f"{law}: final losses of {len(rows)} unseen schedules, predicted before, are off by "
            f"{error.median():.2%} in the median and {error.max():.2%} at most, {int(rows['inside'].sum())} "
            f"inside {level:.0%} intervals; of branches left out {np.median(off):.2%} and {off.max():.2%}"
        )
        if fit.fit.status != "converged":
            lines.append(f"  its parameters: {fit.fit.status}")
    lines.append(f"by {best}, the better of the two on branches left out:")
    for row in table.loc[table["law"] == best].to_dict("records"):
        lines.append(
            f"  {row['schedule']:<16} predicted {row['predicted']:.4f} ({row['lo']:.4f} to {row['hi']:.4f}), "
            f"measured {row['measured']:.4f}, {row['error']:+.2%}"
        )
    return "\n".join(lines)
