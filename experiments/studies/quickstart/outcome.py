"""What the default study says: the prediction, before the run that checks it; the outcome, after."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import scaling
from experiments.config import RunConfig
from experiments.data_configs import DataConfig
from experiments.evaluate import checkpoint_comparison
from experiments.evaluate.checkpoint_paths import find_all
from experiments.evaluate.tasks.builtin_tasks import builtin_task
from experiments.files import read_json, write_json
from models import count
from scaling.hparams import fit_hparams
from scaling.table.runs import TUNING, Runs
from scaling.table.seed_noise import seed_noise

TASKS = ("word_end", "next_word")  # those that models of this size move on
READ_OFTEN = 2.0  # times: text read more often taught less (benchmarks/RESULTS.md, "Repeated tokens")
FURTHER = 10.0  # times the compute of the verification run, where the law that knows it looks next


def predict_run(folder: Path, runs: Runs, config: RunConfig, n_bootstrap: int, level: float) -> None:
    """Writes fit.json, lr.json where rates were tuned, and verify.json, what the law says of a run to come.

    Args:
      folder: of the study.
      runs: those before the run to come.
      config: of that run.
      n_bootstrap: resamples that the intervals are from.
      level: of the intervals.
    """
    fit = fit_grid(runs, n_bootstrap=n_bootstrap, level=level)
    counts = count(config.model)
    n_tokens = config.n_steps * config.batch_tokens
    prediction = fit.predict(counts.n_params, n_tokens)
    verification = {
        "run_id": config.run_id,
        "flops": n_tokens * counts.flops_per_token(config.seq_len),
        "n_params": counts.n_params,
        "n_tokens": n_tokens,
        "lr": config.optimizer.lr,
        "predicted": float(prediction.loss),
        "lo": float(prediction.lo),
        "hi": float(prediction.hi),
        "level": level,
        "doubt": "; ".join(filter(None, [fit.doubt, read_again(runs, n_tokens)])),
    }
    noise = seed_noise(runs)
    if noise.dof:
        verification["seed_noise"] = {"sd": noise.sd, "repetitions": noise.dof}
    if len(tuned(runs).table):
        write_json(folder / "lr.json", fit_hparams(tuned(runs), level=level).to_json())
    write_json(folder / "fit.json", fit.to_json())
    write_json(folder / "verify.json", verification)


def read_again(runs: Runs, n_tokens: float) -> str:
    """That a run of so many tokens reads its text more often than the runs before it; "" if not."""
    if "epochs" not in runs.table:
        return ""
    done = runs.table[runs.table.epochs > 0]
    often, before = float((done.epochs / done.n_tokens).median() * n_tokens), float(done.epochs.max())
    if not often > max(READ_OFTEN, before):
        return ""
    return (
        f"the run reads its text {often:.1f} times, the runs before it {before:.1f} times at most: "
        "what is read again teaches less, so it may end above"
    )


def verified(folder: Path, runs: Runs) -> dict:
    """verify.json with the measured loss, which is written into it.

    Raises:
      ValueError: there is no verify.json: it was deleted, as it is written before its run trains.
    """
    file = folder / "verify.json"
    if not file.exists():
        raise ValueError(
            f"no {file}, which was there before the run that it predicts trained; restore "
            "it, or begin the study again elsewhere: what is predicted now would know the outcome"
        )
    verification = read_json(file)
    table = runs.table.set_index("run_id")
    verification["measured"] = float(table.loss[verification["run_id"]])
    write_json(file, verification)
    return verification


def outcome(folder: Path, runs: Runs) -> str:
    """Writes the measured loss into verify.json and, as further.json, the law fitted with that run, too;
    returns the conclusion."""
    verification = verified(folder, runs)
    said = conclusion(verification)
    if not math.isfinite(verification["measured"]):
        return said
    n_bootstrap = len(read_json(folder / "fit.json")["samples"])
    further = fit_grid(runs.with_verification(), n_bootstrap=n_bootstrap, level=verification["level"])
    write_json(folder / "further.json", further.to_json())
    best = scaling.frontier(further, FURTHER * verification["flops"])
    half = (best.loss_hi - best.loss_lo) / 2
    return (
        f"{said}\nfitted again with this run (further.json), the law expects {best.loss:.4f} ± {half:.4f} at "
        f"{best.flops:.2e} FLOPs, N = {best.n_params:.3g}, D = {best.n_tokens:.3g}"
    )


def evaluate_runs(folder: Path, data: DataConfig) -> str:
    """How accurate the runs of the grid and of the verification are on TASKS, as CSV.

    Raises:
      ValueError: the corpus has too few words for the tasks, or its context is too short for all items.
    """
    found = [one for one in find_all(folder) if one.row["stage"] not in TUNING]
    text = None if data.task == DataConfig().task else data
    tasks = [builtin_task(name, data=text) for name in TASKS]
    with ThreadPoolExecutor(2) as pool:  # most of the time goes into compiling, which keeps one core busy
        evaluated = list(pool.map(lambda one: checkpoint_comparison.evaluate_tasks(one, tasks), found))
    return checkpoint_comparison.as_csv(checkpoint_comparison.rows(evaluated))


def conclusion(v: dict) -> str:
    """The line that matters: predicted and measured, and why the prediction was in doubt if it was."""
    half = (v["hi"] - v["lo"]) / 2
    inside = "inside" if v["lo"] <= v["measured"] <= v["hi"] else "OUTSIDE"
    return (
        f"at {v['flops']:.2e} FLOPs, N = {v['n_params']:,}, D = {v['n_tokens']:,}, lr = {v['lr']:g}:\n"
        f"predicted {v['predicted']:.4f} ± {half:.4f} nats per token ({v['level']:.0%} interval), "
        f"measured {v['measured']:.4f}: {v['measured'] / v['predicted'] - 1:+.2%}, {inside} the interval"
        + (
            f"\nruns repeated under another seed end {noise['sd']:.2%} apart "
            f"(standard deviation, {noise['repetitions']} repetitions)"
            if (noise := v.get("seed_noise"))
            else ""
        )
        + (f"\n{doubt}" if (doubt := v.get("doubt")) else "")
    )


def fit_grid(runs: Runs, **options) -> scaling.Fit:
    """Led by Chinchilla's law: the grid keeps near the best sizes, where it holds, and has few runs."""
    return scaling.fit(runs, relax=False, **options)


def tuned(runs: Runs) -> Runs:
    """The runs of the learning-rate sweeps."""
    return dataclasses.replace(runs, table=runs.table[runs.table.stage.isin(TUNING)])
