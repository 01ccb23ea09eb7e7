"""A study made from a known Chinchilla law plus noise: what the report is tested on.

`python -m tests.scaling.report.synthetic_study DIR` writes one to look at.
"""

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import scaling
from scaling.hparams import fit_hparams
from scaling.report import ReportData, data_of_study
from scaling.table.runs import check

TRUTH = {"E": 0.80, "A": 20.3, "B": 90.0, "alpha": 0.35, "beta": 0.37}
BUDGETS = (3e10, 1e11, 3e11)
TUNE_SIZES = (7_200, 15_800, 35_400)
RATES = tuple(2e-3 * 2.5**k for k in range(6))
NOISE = 0.006
CONVENTIONS = {
    "n_params": "every parameter that is multiplied: output head in, embedding lookup out",
    "flops": "forward and backward of all matrix products, attention included",
    "loss": "nats per token (byte) on the first 131,072 tokens of the validation split",
    "tokenizer": "bytes (259 ids)",
    "data": {"name": "docstrings", "n_documents": 24_800, "n_bytes": 21_300_000, "sha256": "9f2c" * 16},
}

VERSIONS = {"isoflop": "0.1.0", "python": "3.11.7", "jax": "0.10.2", "flax": "0.12.12", "optax": "0.2.8"}


def law(n_params, n_tokens):
    """True mean loss, nats per token."""
    return TRUTH["E"] + TRUTH["A"] / n_params ** TRUTH["alpha"] + TRUTH["B"] / n_tokens ** TRUTH["beta"]


def best_lr(n_params):
    return 0.02 * (n_params / 1e4) ** -0.35


def make_runs(seed: int = 0, verify: bool = True) -> pd.DataFrame:
    """A learning-rate sweep, an IsoFLOP grid and, at nine times its largest budget, one more run."""
    rng = np.random.default_rng(seed)
    plan = [("tune", BUDGETS[0], n, lr) for n in TUNE_SIZES for lr in RATES]
    for budget in BUDGETS:
        middle = 2.2e4 * (budget / 3e10) ** 0.5
        sizes = [round(middle * 1.75**k) for k in np.linspace(-2.5, 2.5, 6)]
        plan += [("grid", budget, n, None) for n in sizes[1:]] + [("extend", budget, sizes[0], None)]
    if verify:
        plan.append(("verify", 2.8e12, 125_000, None))
    rows = []
    for i, (stage, flops, n_params, lr) in enumerate(plan):
        n_tokens = round(flops / (6.3 * n_params) / 512) * 512
        rate = lr or best_lr(n_params)
        diverged = stage == "tune" and rate > 0.1 and n_params > 30_000
        excess = 0.045 * np.log(rate / best_lr(n_params)) ** 2
        loss = law(n_params, n_tokens) * (1 + excess) * np.exp(NOISE * rng.normal())
        row = {
            "run_id": f"{rng.integers(16**12):012x}",
            "stage": stage,
            "status": "diverged" if diverged else "done",
        }
        row |= {"n_params": n_params, "n_embed": 8_288, "n_total": n_params + 8_288, "n_tokens": n_tokens}
        row |= {"flops": 6.3 * n_params * n_tokens, "loss": np.inf if diverged else loss, "loss_se": 0.004}
        row |= {"bits_per_byte": row["loss"] / np.log(2), "lr": rate, "batch_tokens": 512, "seq_len": 128}
        row |= {"family": "transformer", "d_model": 16 + 8 * (i % 6), "n_layers": 2, "seed": seed}
        row |= {
            "epochs": n_tokens / 2e7,
            "unique_tokens": min(n_tokens, 20_000_000),
            "n_steps": n_tokens // 512,
        }
        rows.append(row | {"wall_seconds": flops / 2e10, "flops_per_second": 2e10})
    return pd.DataFrame(rows)


def make_curve(row: pd.Series, rng: np.random.Generator) -> list[dict]:
    """Events of one run: training loss every few steps, validation loss at log-spaced ones."""
    events = []
    steps = np.unique(np.geomspace(1, row.n_steps, 120).round().astype(int))
    for k, step in enumerate(steps):
        tokens = int(step * row.batch_tokens)
        at = {"step": int(step), "tokens": tokens, "flops": 6.3 * row.n_params * tokens}
        loss = float(min(5.55, law(row.n_params, tokens)))
        if row.status == "diverged" and step > row.n_steps / 3:
            events.append(at | {"train_loss": None, "grad_norm": None, "lr": row.lr})
            break
        events.append(at | {"train_loss": loss + 0.04 * rng.normal(), "grad_norm": 0.7, "lr": row.lr})
        if k % 12 == 11:
            validation = {"val_loss": loss, "val_loss_se": 0.004, "val_bits_per_byte": loss / np.log(2)}
            events.append(at | validation)
    return events


def make_curves(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The curves of all runs as a page has them."""
    curves = []
    for _, row in table.iterrows():
        events = [event for event in make_curve(row, rng) if event.get("train_loss") is not None]
        points = pd.DataFrame({name: [event[name] for event in events] for name in ("flops", "train_loss")})
        about = {name: row[name] for name in ("run_id", "stage", "n_params", "n_tokens")}
        curves.append(points.rename(columns={"train_loss": "loss"}).assign(**about, final=row["loss"]))
    return pd.concat(curves, ignore_index=True)


@functools.cache
def study_data(seed: int = 0) -> ReportData:
    """A whole, finished study with a tested prediction."""
    runs = check(make_runs(seed), CONVENTIONS, "runs.csv")
    trained = (runs.table["stage"] != "verify").to_numpy()
    before = replace(runs, table=runs.table[trained])
    fit, lr = scaling.fit(before), fit_hparams(before)
    (run,) = runs.table[~trained].to_dict("records")
    predicted = fit.predict(run["n_params"], run["n_tokens"])
    verify = {name: run[name] for name in ("run_id", "flops", "n_params", "n_tokens")} | {
        "predicted": float(predicted.loss),
        "lo": float(predicted.lo),
        "hi": float(predicted.hi),
        "level": 0.9,
        "measured": float(run["loss"]),
    }
    return data_of_study(
        runs,
        name="quickstart",
        source="study",
        fit=fit,
        lr=lr,
        verify=verify,
        curves=make_curves(runs.table, np.random.default_rng(seed + 1)),
        study={"name": "quickstart", "overrides": ["seed=0"], "versions": VERSIONS, "seed": seed},
        versions=VERSIONS,
        device="2 CPU cores",
    )


def write_study(folder: Path, seed: int = 0, name: str = "quickstart") -> Path:
    """The directory of `study_data` (without result.json, logs and checkpoints)."""
    folder.mkdir(parents=True, exist_ok=True)
    data, rng = study_data(seed), np.random.default_rng(seed + 1)
    assert data.fit and data.lr and data.verify
    table = make_runs(seed)
    for _, row in table.iterrows():
        run = folder / "runs" / row.run_id
        run.mkdir(parents=True)
        lines = (json.dumps(event) + "\n" for event in make_curve(row, rng))
        (run / "metrics.jsonl").write_text("".join(lines))
    table.to_csv(folder / "runs.csv", index=False)
    about = {"conventions": CONVENTIONS, "versions": VERSIONS, "device": data.device}
    contents = {"study": data.study | {"name": name}, "runs": about, "lr": data.lr.to_json()}
    for file, content in (contents | {"fit": data.fit.to_json(), "verify": data.verify}).items():
        _write(folder / f"{file}.json", content)
    return folder


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, default=lambda number: number.item()))


if __name__ == "__main__":
    print(write_study(Path(sys.argv[1])))
