"""Where runs of one model end, by laws of whole loss curves: runs half done, and schedules never trained.

Both laws (`isoflop list laws`: annealing_curves, multi_power_curves) are fitted to what the study's runs have
recorded so far; that which was less off at ends of runs that it had not seen speaks. --set asks for the run
that differs in these settings from the first of them: another schedule, or more tokens. Intervals are as wide
as these laws were off ends of runs left out; they do not widen for a run that is longer than all of those.

Example: isoflop curves out/annealing
Example: isoflop curves out/grid --where "d_model == 64" --set schedule.name=cosine --set n_tokens=2e7
"""

import json
from pathlib import Path

from absl import flags

from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop curves DIR [--where EXPR] [--set FIELD=VALUE …] [--json]"
flags.DEFINE_string(
    "where", None, "only runs of which this holds, such as 'd_model == 64'", flag_values=FLAGS
)
flags.DEFINE_multi_string(
    "set", [], "the end of a run with this setting, FIELD=VALUE; may be repeated", flag_values=FLAGS
)
flags.DEFINE_float("level", 0.9, "level of the intervals", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)

MAY_DIFFER = ("schedule", "n_tokens", "seed", "optimizer.lr")  # of runs that one law describes


def run(args: list[str], flags) -> int:
    """Prints where each run ends, by the law, and where those that are finished did."""
    if len(args) != 1:
        raise ValueError(f"expected one study folder, got {args}; usage: {USAGE}")
    if not 0 < flags.level < 1:
        raise ValueError(f"--level {flags.level}; it must be between 0 and 1, for example 0.9")
    folder = Path(args[0])
    configs = of_one_model(folder, flags.where)
    prepare_process()  # before anything imports jax
    from experiments.fields import apply_overrides
    from experiments.studies.pretraining.annealing.curve_fit import fit_best, read_records
    from launch.monitor.text import n_runs, strict

    other = apply_overrides(configs[0], flags.set) if flags.set else None
    records = [record for record in read_records(folder, configs) if record.events]
    if not records:
        raise ValueError(f"{folder}: none of {n_runs(len(configs))} has recorded a loss yet")
    fits = fit_best(records)
    best, fit = next(iter(fits.items()))
    rows = [
        said(fit, record.config, flags.level)
        | {"step": int(record.events[-1]["step"]), "measured": strict(record.final)}
        for record in records
    ]
    asked = said(fit, other, flags.level) if other else None
    if flags.json:
        off = {law: each.off.tolist() for law, each in fits.items()}
        content = {"law": best, "level": flags.level, "off": off, "runs": rows, "asked": asked}
        print(json.dumps(content | {"fit": fit.fit.to_json()}, indent=1, allow_nan=False))
    else:
        print("\n".join(as_text(fits, rows, asked, flags.level)))
    return 0


def of_one_model(folder: Path, condition: str | None) -> list:
    """The RunConfigs of a study's runs that one law of curves can describe; those that diverged left out.

    Raises:
      ValueError: there is no study or no run, or they differ in more than schedule, tokens, rate and seed.
    """
    from experiments.config import RunConfig
    from experiments.fields import from_json
    from launch.driver.rows import read_rows, where
    from launch.store import settings

    rows = where(read_rows(folder), condition)
    status = rows.table["status"] if rows.configs else []
    kept = [config for config, state in zip(rows.configs, status) if state != "diverged"]
    if not kept:
        holds = f" of which {condition!r} holds" if condition else ""
        raise ValueError(f"{folder}: no run of a study{holds}; curves are read from its metrics.jsonl")
    if differs := [name for name in settings.telling(kept) if not name.startswith(MAY_DIFFER)]:
        raise ValueError(
            f"{folder}: these {len(kept)} runs differ in {', '.join(differs)}; a law of curves is of one "
            f'model in one kind of batch; choose, as by --where "{example(kept, differs[0])}"'
        )
    return [from_json(RunConfig, config) for config in kept]


def example(configs: list[dict], name: str) -> str:
    """A condition that the first run fulfils."""
    from launch.driver.runs_table import setting

    return f"{name.rpartition('.')[2]} == {setting(configs[0], name)!r}"


def said(fit, config, level: float) -> dict:
    """What a law says of the end of a run, and which run that is."""
    from launch.monitor.text import strict

    predicted, lo, hi = fit.end(config, level)
    about = {"run_id": config.run_id, "n_steps": config.n_steps}
    about |= {"schedule": in_words(config), "lr": config.optimizer.lr}
    return about | {"predicted": predicted, "lo": strict(lo), "hi": strict(hi)}


def in_words(config) -> str:
    """The schedule of a run: its form, how long it falls and to what."""
    schedule = config.schedule
    to = f" to {schedule.final:g}" if schedule.final else ""
    if schedule.name == "cosine":
        return f"cosine{to}"
    return f"decay {schedule.decay:.0%}{to}" if schedule.decay else "constant"


def as_text(fits: dict, rows: list[dict], asked: dict | None, level: float) -> list[str]:
    """How far the laws are off, a line a run, and the run that was asked for.

    Args:
      fits: the better law first; rows: of the runs, as `said`, with `step` and `measured`.
      asked: as a row, or None; level: of the intervals.
    """
    import numpy as np

    from launch.monitor.text import columns, n_runs

    best, fit = next(iter(fits.items()))
    n_finished = sum(row["measured"] is not None for row in rows)
    lines = [f"{n_runs(len(rows))} with curves, {n_finished} finished"]
    if len(fit.off):
        off = ", ".join(f"{law} {np.median(np.abs(each.off)):.2%}" for law, each in fits.items())
        lines.append(f"off at ends that it was not fitted to, in the median: {off}; by {best}:")
    else:
        lines.append(f"by {best}, without intervals: they take three finished runs or more")

    def ends(row: dict) -> str:
        held = f" [{row['lo']:.4f}, {row['hi']:.4f}]" if row["lo"] is not None else ""
        return f"{row['predicted']:.4f}{held}"

    table = {
        "run": [row["run_id"] for row in rows],
        "schedule": [row["schedule"] for row in rows],
        "lr": [row["lr"] for row in rows],
        "steps": [f"{row['step']:,} of {row['n_steps']:,}" for row in rows],
        f"ends at ({level:.0%})": [ends(row) for row in rows],
        "measured": ["" if row["measured"] is None else f"{row['measured']:.4f}" for row in rows],
    }
    lines += ["", *columns(table)[0]]
    if asked:
        what = f"{asked['schedule']}, lr {asked['lr']:g}, {asked['n_steps']:,} steps"
        lines += ["", f"{what}: ends at {ends(asked)}"]
        longest = max(row["step"] for row in rows)
        if asked["n_steps"] > longest:
            times = f"{asked['n_steps'] / longest:.3g} times the longest record ({longest:,} steps)"
            lines.append(f"that is {times}, and the interval is no wider for it")
    return lines
