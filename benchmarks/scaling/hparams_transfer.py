"""Laws of learning rate and batch: what they cost when extrapolated, and how often their intervals hold.

`python -m benchmarks.scaling.hparams_transfer [simulated tables a case, default 40]` prints five tables,
about three
minutes on two cores. The first three read the step-law runs (arXiv 2503.04715) in the folder named by
ISOFLOP_PUBLIC_DATA (default ../shared/data), N without embeddings (of the experts' table: active), batches
in tokens.

1. The laws, next to the published ones.
2. Fitted to the smaller half of the cells (by N D), all their runs or a random few of each, and used on the
   larger half: loss over the best, by the surface fitted to all runs and by the grid's run nearest to the
   setting predicted. Next to it laws through the separate optima (two steps), and the published law.
3. Critical batches.
4. Simulated sweeps: how often 90 % intervals hold, and expected against true penalties.
5. The same of intervals by resampling cells and runs, for one case.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.hparams import HparamLaws, fit_hparams
from scaling.hparams.critical_batch import fit_critical_batch, law_of, tokens_to_loss
from scaling.hparams.fit_hparams import EXPONENTS
from scaling.table.runs import Runs, check
from tests.scaling.planted_sweeps import ORIGIN, cross, line, planted_sweeps, random_truth

FOLDER = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data")) / "runs/steplaw"
PUBLISHED = {"lr": (1.79, -0.713, 0.307), "batch_tokens": (0.58, 0.0, 0.571)}
AXES = ("lr", "batch_tokens")
ENDS = {"lr": ("lr_lo", "lr_hi"), "batch_tokens": ("batch_lo", "batch_hi")}
CASES = (  # name, cells, axes, settings a cell (None: a full grid)
    ("3 x 3 cells, 5 x 5 grid", cross(3), 2, None),
    ("3 x 3 cells, 12 at random", cross(3), 2, 12),
    ("3 x 3 cells, 6 at random", cross(3), 2, 6),
    ("5 cells in line, 5 x 5 grid", line(5), 2, None),
    ("5 cells in line, 5 rates", line(5), 1, None),
    ("3 cells in line, 5 rates", line(3), 1, None),
)
NOISES = ((0.001, 0.05), (0.003, 0.1), (0.005, 0.05))  # of log loss, and scatter of the optima about the law


def steplaw(kind: str, n_params: str) -> Runs:
    """The dense or the experts' table in our units."""
    table = pd.read_csv(FOLDER / f"{kind}_lr_bs_loss.csv").drop(columns="loss")
    table = table.rename(columns={n_params: "n_params", "D": "n_tokens", "smooth loss": "loss"})
    table["batch_tokens"] = 2048.0 * table["bs"]
    return check(table[["n_params", "n_tokens", "loss", *AXES]], {})


def published(n_params: float, n_tokens: float) -> np.ndarray:
    """Log lr and log batch of the published law."""
    return np.log([c * n_params**a * n_tokens**b for c, a, b in PUBLISHED.values()])


def two_steps(laws: HparamLaws, n_params: float, n_tokens: float) -> np.ndarray:
    """Log lr and log batch by power laws through the separate optima, each weighted by its
    uncertainty, with the prior of `fit_hparams`."""
    sizes = np.log([(o.n_params, o.n_tokens) for o in laws.optima])
    design = np.column_stack([np.ones(len(sizes)), sizes - laws.origin])
    x = np.array([1.0, *(np.log([n_params, n_tokens]) - laws.origin)])
    predicted = []
    for axis in AXES:
        value = np.log([getattr(o, axis) for o in laws.optima])
        lo, hi = (np.log([getattr(o, end) for o in laws.optima]) for end in ENDS[axis])
        weight = 1 / (((hi - lo) / 3.29) ** 2 + 0.07**2)
        mean, sd = np.array([(value.mean(), 2.0), *EXPONENTS[axis]]).T
        information = design.T @ (design * weight[:, None]) + np.diag(1 / sd**2)
        predicted.append(x @ np.linalg.solve(information, design.T @ (weight * value) + mean / sd**2))
    return np.array(predicted)


def show_laws() -> None:
    """Table 1."""
    for name, kind, n_params in (("dense", "dense", "N"), ("experts, active N", "moe", "Na")):
        print(f"\n{name}\n{fit_hparams(steplaw(kind, n_params))}")
    draws = pd.read_csv(FOLDER / "1004_fitted_lr_bs_scaling_model_parameters.csv")
    ends = draws[["lr_coefN", "lr_coefD", "bs_coefD"]].quantile([0.05, 0.95]).to_numpy().T
    print("\npublished: lr = 1.79 · N^-0.713 · D^0.307, batch_tokens = 0.58 · D^0.571")
    print("  their bootstrap, 90%: " + ", ".join(f"[{lo:.3f}, {hi:.3f}]" for lo, hi in ends))
    laws = fit_hparams(steplaw("dense", "N"))
    of_d = np.polyfit(
        np.log([o.n_tokens for o in laws.optima]), np.log([o.batch_tokens for o in laws.optima]), 1
    )
    print(f"  our optima's batch in D alone, as theirs: D^{of_d[0]:.3f}")
    inside = {axis: [] for axis in AXES}
    for o in laws.optima:
        predicted, theirs = laws.predict(o.n_params, o.n_tokens), np.exp(published(o.n_params, o.n_tokens))
        for axis, value in zip(AXES, theirs):
            lo, hi = (getattr(predicted, end) for end in ENDS[axis])
            inside[axis].append(lo < value < hi)
    counts = ", ".join(f"{axis} in {sum(held)} of {len(held)}" for axis, held in inside.items())
    print(f"  their setting inside our 90% interval of a cell's optimum: {counts}")


def few_of_each(table: pd.DataFrame, rows: int | None, rng: np.random.Generator) -> pd.DataFrame:
    """So many random runs of each cell, of those within 20 % of its best loss."""
    if rows is None:
        return table
    parts = []
    for _, cell in table.groupby(["n_params", "n_tokens"]):
        near = cell[cell["loss"] < 1.2 * cell["loss"].min()]
        parts.append(near.iloc[rng.choice(len(near), min(rows, len(near)), replace=False)])
    return pd.concat(parts)


def show_transfer() -> None:
    """Table 2."""
    print(f"\n{'':26}{'by the surface, %':>22}{'nearest run of the grid, %':>32}")
    print(f"{'fitted to':26}{'mean':>11}{'largest':>11}{'mean':>11}{'median':>10}{'largest':>11}  expected")
    for kind, n_params in (("dense", "N"), ("moe", "Na")):
        runs = steplaw(kind, n_params)
        everything = fit_hparams(runs)
        size = (runs.table["n_params"] * runs.table["n_tokens"]).round(-12)
        is_large = (size > np.median(size.unique())).to_numpy()
        for rows in (None, 20, 10, 6):
            lost = {"joint fit": [], "two steps": [], "published law": []}
            expected = []
            for seed in range(1 if rows is None else 8):
                few = few_of_each(runs.table[~is_large], rows, np.random.default_rng(seed))
                laws = fit_hparams(replace(runs, table=few), n_draws=300)
                for i, o in enumerate(everything.optima):
                    cell = everything.runs[everything.runs["cell"] == i]
                    if round(o.n_params * o.n_tokens, -12) <= np.median(size.unique()):
                        continue
                    predicted = laws.predict(o.n_params, o.n_tokens)
                    expected.append(predicted.penalty)
                    settings = {
                        "joint fit": np.log([predicted.lr, predicted.batch_tokens]),
                        "two steps": two_steps(laws, o.n_params, o.n_tokens),
                        "published law": published(o.n_params, o.n_tokens),
                    }
                    for name, setting in settings.items():
                        at = everything.surface(i).loss(**dict(zip(AXES, np.exp(setting)))) / o.loss - 1
                        away = np.sum((np.log(cell[list(AXES)]) - setting) ** 2, axis=1)
                        run = cell["loss"].iloc[int(np.argmin(away))] / cell["loss"].min() - 1
                        lost[name].append((at, run))
            for name, values in lost.items():
                if name == "published law" and (rows or kind == "moe"):
                    continue
                surface, run = 100 * np.array(values).T
                what = f"{kind}, {rows or 'all'} runs a cell"
                predicted = f"{100 * np.mean(expected):8.3f}" if name == "joint fit" else ""
                print(
                    f"{what:26}{surface.mean():11.3f}{surface.max():11.3f}{run.mean():11.3f}"
                    f"{np.median(run):10.3f}{run.max():11.3f}{predicted:>10}  {name}"
                )


def show_critical() -> None:
    """Table 3."""
    table = steplaw("dense", "N").table
    print(f"\n{'params':>9}{'loss':>7}{'tokens at least':>17}{'critical batch, tokens':>25}")
    sizes, found = [], []
    for n_params, runs in table.groupby("n_params"):
        if runs["n_tokens"].nunique() < 3:
            continue
        best = runs.groupby("n_tokens")["loss"].min().to_numpy()
        for target in np.exp(np.linspace(np.log(best.min()), np.log(best.max()), 5)[1:4]):
            columns = (runs[name].to_numpy() for name in ("batch_tokens", "n_tokens", "loss"))
            try:
                fit = fit_critical_batch(*tokens_to_loss(*columns, target))
            except ValueError:
                continue
            print(
                f"{n_params:9.3g}{target:7.3f}{fit.least_tokens:17.3g}"
                f"{fit.batch_tokens:11.2g} [{fit.lo:.2g}, {fit.hi:.2g}]"
            )
            sizes.append(fit.least_tokens)
            found.append(fit.batch_tokens)
    law = law_of(sizes, found)
    print(f"critical batch ~ tokens^{law.exponent:.2f} [{law.lo:.2f}, {law.hi:.2f}]")


def show_coverage(n_tables: int) -> None:
    """Table 4."""
    print(f"\n{'share of 90% intervals that hold':42}{'optima':>8}{'exponents':>11}{'new size':>10}", end="")
    print(f"{'width':>8}{'expected':>10}{'true penalty, %':>17}")
    for name, sizes, n_axes, rows in CASES:
        for noise, scatter in NOISES:
            held = {"optima": [], "exponents": [], "new": []}
            widths, expected, true = [], [], []
            for seed in range(n_tables):
                rng = np.random.default_rng(seed)
                truth = random_truth(rng, n_axes, scatter)
                runs, optima = planted_sweeps(truth, sizes, noise, rows, rng)
                laws = fit_hparams(runs, n_draws=500)
                x = sizes.max(axis=0) + 1.5  # each size 4.5 times the largest
                predicted = laws.predict(*np.exp(ORIGIN + x))
                best = np.array([1.0, *x]) @ truth.law + scatter * rng.standard_normal(n_axes)
                order = np.lexsort(sizes.T[::-1])
                for i, axis in enumerate(laws.axes):
                    lo, hi = (np.log([getattr(o, end) for o in laws.optima]) for end in ENDS[axis])
                    held["optima"] += list((lo < optima[order, i]) & (optima[order, i] < hi))
                    for j, size in ((1, "N"), (2, "D")):
                        lo, hi = laws.ci[axis][size]
                        held["exponents"].append(lo < truth.law[j, i] < hi)
                    lo, hi = (np.log(getattr(predicted, end)) for end in ENDS[axis])
                    held["new"].append(lo < best[i] < hi)
                    widths.append(hi - lo)
                setting = np.log([getattr(predicted, axis) for axis in laws.axes])
                true.append(np.expm1(truth.excess(setting, best, np.exp(x @ truth.trend), truth.stretch)))
                expected.append(predicted.penalty)
            what = f"{name}, noise {100 * noise:.1f} %"
            shares = [np.mean(values) for values in held.values()]
            print(
                f"{what:42}{shares[0]:8.2f}{shares[1]:11.2f}{shares[2]:10.2f}{np.mean(widths):8.2f}"
                f"{100 * np.mean(expected):10.3f}{100 * np.mean(true):17.3f}",
                flush=True,
            )


def show_resampling(n_tables: int, n_resamples: int = 40) -> None:
    """Table 5: laws of resampled cells and runs at a new size, against the interval of `fit_hparams`."""
    sizes, scatter = line(7), 0.1
    x = sizes.max(axis=0) + 1.5
    held, widths = {"posterior": [], "resampling": []}, {"posterior": [], "resampling": []}
    for seed in range(n_tables):
        rng = np.random.default_rng(seed)
        truth = random_truth(rng, 2, scatter)
        runs, _ = planted_sweeps(truth, sizes, 0.001, None, rng)
        best = np.array([1.0, *x]) @ truth.law + scatter * rng.standard_normal(2)
        found = fit_hparams(runs, n_draws=500).predict(*np.exp(ORIGIN + x))
        ends = {"posterior": np.log([[found.lr_lo, found.batch_lo], [found.lr_hi, found.batch_hi]])}
        cells = [cell for _, cell in runs.table.groupby(["n_params", "n_tokens"])]
        drawn = []
        for _ in range(n_resamples):
            parts, picks = [], rng.integers(0, len(cells), len(cells))
            for i, pick in enumerate(picks):
                cell = cells[pick].iloc[rng.integers(0, len(cells[pick]), len(cells[pick]))]
                before = np.sum(picks[:i] == pick)  # drawn twice is two cells, so a little apart
                parts.append(cell.assign(n_params=cell["n_params"] * 1.03**before))
            again = fit_hparams(replace(runs, table=pd.concat(parts)), n_draws=2).predict(*np.exp(ORIGIN + x))
            drawn.append(np.log([again.lr, again.batch_tokens]))
        ends["resampling"] = np.quantile(drawn, [0.05, 0.95], axis=0)
        for name, (lo, hi) in ends.items():
            held[name] += list((lo < best) & (best < hi))
            widths[name] += list(hi - lo)
    print(f"\n7 cells in line, 5 x 5 grid, noise 0.1 %, scatter {scatter}: 90% intervals of a new size")
    for name in held:
        print(f"  by {name}: {np.mean(held[name]):.2f} hold, width {np.mean(widths[name]):.2f}")


if __name__ == "__main__":
    n_tables = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    if FOLDER.is_dir():
        show_laws()
        show_transfer()
        show_critical()
    else:
        print(f"no step-law tables at {FOLDER}; set ISOFLOP_PUBLIC_DATA")
    show_coverage(n_tables)
    show_resampling(n_tables // 2)
