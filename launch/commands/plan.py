"""Show the runs of a study and what they cost; nothing runs. A stage can be planned when the stages before it
are done: with the --out of a study under way, its results are used.

Example: isoflop plan quickstart
"""

import json
from dataclasses import asdict
from pathlib import Path

from absl import flags

from launch.progress import ROUGH_RATES, duration, measured_rates, n_runs, run_seconds, short
from launch.store import Planned, Store

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder of the study, if it has begun", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "change a setting: FIELD=VALUE; may be repeated", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop plan NAME|FILE.py [--out DIR] [--set FIELD=VALUE …] [flags]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the plan."""
    if len(args) != 1:
        raise ValueError(f"expected the name of a study, got {args}; usage: {USAGE}")
    from experiments.studies import load_study
    from launch.driver import plan_stages
    from launch.local import machine_slots

    study = load_study(args[0], flags.set)
    results = Store(Path(flags.out)).results() if flags.out else {}
    stages = plan_stages(study, results)
    if flags.json:
        plain = {
            name: None if runs is None else [asdict(run) for run in runs] for name, runs in stages.items()
        }
        print(json.dumps(plain, indent=1))
    else:
        print(as_text(stages, measured_rates(results, []), len(machine_slots())))
    return 0


def as_text(stages: dict[str, list[Planned] | None], measured: dict[int, float], n_workers: int) -> str:
    """A table of runs a stage, then what it takes."""
    rates = measured or ROUGH_RATES
    lines, known = [], [run for runs in stages.values() for run in runs or []]
    header = f"  {'run':<14}{'N':>8}{'D':>8}{'FLOPs':>10}{'lr':>9}{'batch':>8}{'d_model':>9}{'time':>14}"
    previous = ""
    for name, runs in stages.items():
        if runs is None:
            lines.append(f"{name}: planned after stage {previous}, from its results")
        else:
            lines += [f"{name}: {n_runs(len(runs))}", header, *(_row(run, rates) for run in runs)]
        previous = name
    flops, seconds = sum(run.flops for run in known), sum(run_seconds(run, rates) for run in known)
    basis = "at the speeds measured here" if measured else "guessed from one CPU core's speed on tiny models"
    lines.append(
        f"in all so far: {n_runs(len(known))}, {flops:.2e} FLOPs, about {duration(seconds / n_workers)} "
        f"with {n_workers} workers, {basis}"
    )
    return "\n".join(lines)


def _row(run: Planned, rates: dict[int, float]) -> str:
    config = run.config
    return (
        f"  {run.run_id:<14}{short(run.n_params):>8}{short(run.n_tokens):>8}{run.flops:>10.1e}"
        f"{config['optimizer']['lr']:>9.2g}{config['batch_tokens']:>8}{config['model']['d_model']:>9}"
        f"{duration(run_seconds(run, rates)):>14}"
    )
