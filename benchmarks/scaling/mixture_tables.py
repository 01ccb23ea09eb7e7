"""Mixture laws on public tables of mixtures: errors of mixtures that were left out of the fit.

Five domains (arXiv 2403.16952, 20 mixtures × 4 sizes): each mixture is left out in turn, relative error of
its loss. RegMix (arXiv 2407.01492, 512 models of 1M parameters, 17 shares, 13 losses): five folds, Spearman's
correlation of predicted and measured loss. Both with how often the 90 % interval holds the measured loss.

Run: ISOFLOP_PUBLIC_DATA=../shared/data python -m benchmarks.scaling.mixture_tables [LAW …]
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from scaling import laws
from scaling.fitting.fit import in_units
from scaling.fitting.uncertainty import forecast

DATA = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data")) / "runs/mixtures"
FOLDS = 5


def left_out(law: str, own: str, table: pd.DataFrame, fold: np.ndarray) -> np.ndarray:
    """(predicted, lo, hi) [3, rows] of each row by a fit to the other folds; `own` is the loss's domain."""
    domains = [name.removeprefix("share_") for name in table if name.startswith("share_")]
    first = [own] if own in domains else []
    form = laws.find(f"{law}:{','.join(first + [domain for domain in domains if domain != own])}")
    found = np.zeros((3, len(table)))
    for each in np.unique(fold):
        x, y, units = in_units(form, table[fold != each])
        fitted = forecast(form, x, y, units, 2, np.random.default_rng(0))
        rest = table[fold == each]
        found[:, fold == each] = fitted.predict(form, {c: rest[c].to_numpy() for c in form.columns}, 0.9)
    return found


def five_domains(law: str) -> None:
    """Prints the mean error by size and by domain."""
    whole = pd.read_csv(DATA / "five_domains_train.csv")
    whole = whole.rename(columns=lambda name: name.replace("proportion_domain_", "share_d"))
    errors, inside = {}, []
    for size, rows in whole.groupby("group"):
        for i in range(1, 6):
            loss = rows[f"loss_domain_{i}"].to_numpy()
            predicted, lo, hi = left_out(law, f"d{i}", rows.assign(loss=loss), np.arange(len(rows)))
            errors[size, f"d{i}"] = np.abs(predicted / loss - 1)
            inside.append((lo <= loss) & (loss <= hi))
    table = pd.Series({key: 100 * each.mean() for key, each in errors.items()}).unstack()
    worst = 100 * max(each.max() for each in errors.values())
    mean = table.to_numpy().mean()
    print(f"{law}: mean error {mean:.3f} %, largest {worst:.1f} %, inside {np.mean(inside):.0%}")
    print(table.round(2).to_string())


def regmix(law: str) -> None:
    """Prints Spearman's correlation and the mean error by domain."""
    shares = pd.read_csv(DATA / "regmix_1m_shares.csv").rename(
        columns=lambda name: name.replace("train_the_pile_", "share_")
    )
    losses = pd.read_csv(DATA / "regmix_1m_losses.csv").drop(columns="index")
    fold, rows = np.arange(len(shares)) % FOLDS, []
    for name in losses:
        own, loss = name.removeprefix("metric/the_pile_").removesuffix("_val_loss"), losses[name].to_numpy()
        predicted, lo, hi = left_out(law, own, shares.assign(loss=loss), fold)
        error, rank = 100 * np.abs(predicted / loss - 1).mean(), float(spearmanr(predicted, loss)[0])
        rows.append((own, rank, error, np.mean((lo <= loss) & (loss <= hi))))
    table = pd.DataFrame(rows, columns=["loss", "spearman", "error, %", "inside"]).set_index("loss")
    print(f"{law}: {table.mean().round(4).to_dict()}\n{table.round(3).to_string()}", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["mixture", "mixture_own", "mixture_exponential"]:
        for part in (regmix, five_domains):
            began = time.process_time()
            part(name)
            print(f"({time.process_time() - began:.0f} CPU seconds)\n", flush=True)
