"""What the study `batch_size` computes from its runs: critical batches of losses reached, their growth."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from experiments.studies.pretraining import larger_run
from scaling.hparams.critical_batch import fit_critical_batch, law_of, tokens_to_loss

ENDS = (1.3, 0.6)  # losses to be reached lie between those at so many times the fewest and the most tokens


def critical_batches(table: pd.DataFrame, n_targets: int, level: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(points: n_params, target, batch_tokens, n_tokens, steps; the critical batch of each target).

    Targets are losses that the best batch reaches at even ratios of tokens, so many for each size.

    Args:
      table: runs: n_params, n_tokens, batch_tokens, loss. level: of the intervals.

    Raises:
      ValueError: no target is reached at three batches.
    """
    points, rows = [], []
    for n_params, own in table.groupby("n_params"):
        tokens = np.unique(own["n_tokens"].to_numpy(float))
        lowest = np.minimum.accumulate(
            [own.loc[own["n_tokens"] == n, "loss"].to_numpy().min() for n in tokens]
        )
        at = np.geomspace(ENDS[0] * tokens.min(), ENDS[1] * tokens.max(), n_targets)
        for target in np.exp(np.interp(np.log(at), np.log(tokens), np.log(lowest))):
            batch, needed = tokens_to_loss(own["batch_tokens"], own["n_tokens"], own["loss"], target)
            about = {"n_params": n_params, "target": float(target)}
            reached = pd.DataFrame({"batch_tokens": batch, "n_tokens": needed, "steps": needed / batch})
            try:
                found = fit_critical_batch(batch, needed, level)
            except ValueError:  # too few batches reach it
                continue
            points.append(reached.assign(**about))
            rows.append(about | dataclasses.asdict(found))
    if not rows:
        raise ValueError("no loss is reached at three batches; give more batches, or lengths further apart")
    return pd.concat(points, ignore_index=True), pd.DataFrame(rows)


def growth(critical: pd.DataFrame, level: float) -> dict[str, Any]:
    """B_crit as a power of the fewest tokens and of the loss, of all sizes; {} where few can tell."""
    known = critical[(critical["lo"] > 0) & np.isfinite(critical["hi"])]
    if len(known) < 3:
        return {}
    laws = {name: law_of(known[name], known["batch_tokens"], level) for name in ("least_tokens", "target")}
    return {name: dataclasses.asdict(law) for name, law in laws.items()}


def in_words(found: dict[str, Any], critical: pd.DataFrame, n_tokens: int) -> str:
    """The finding, a line each; found: batch_size.json. The law's critical batch is said at `n_tokens`."""
    b, kappa = (found["law"]["params"][name] for name in ("b", "kappa"))
    lines = [
        f"critical batch by the law of all runs: {b * n_tokens**kappa:,.0f} tokens where small batches need "
        f"{n_tokens:,}, growing as D^{kappa:.2f} {_ends(*found['law']['ci']['kappa'])}"
    ]
    said = (
        f"by losses reached: {critical['batch_tokens'].min():,.0f} to {critical['batch_tokens'].max():,.0f}"
    )
    if found["growth"]:
        power, of_loss = found["growth"]["least_tokens"], found["growth"]["target"]
        lines.append(
            f"{said} tokens, as D^{power['exponent']:.2f} {_ends(power['lo'], power['hi'])}, as "
            f"L^{of_loss['exponent']:.1f} {_ends(of_loss['lo'], of_loss['hi'], 1)}"
        )
    else:
        lines.append(f"{said} tokens; too few are bounded from both sides to say how they grow")
    first, *_, last = found["rates"]
    edges = [str(each["batch_tokens"]) for each in found["rates"] if each["at_edge"]]
    lines.append(
        f"best rate {first['lr']:.3g} at {first['batch_tokens']} tokens and {last['lr']:.3g} at "
        f"{last['batch_tokens']}" + (f"; only a bound at {', '.join(edges)}" if edges else "")
    )
    run = found["larger"]
    held = larger_run.in_words(run, f"{run['in_small_batches']:.4f} in small batches")
    lines.append(
        f"N = {run['n_params']:,} on {run['n_tokens']:,} tokens in batches of {run['batch_tokens']:,}: {held}"
    )
    return "\n".join(lines)


def _ends(lo: float, hi: float, digits: int = 2) -> str:
    return f"[{lo:.{digits}f}, {hi:.{digits}f}]"
