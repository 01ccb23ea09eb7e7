"""What is odd about a table of runs as a whole: units, a column that is not a loss, rows that share a run.

These are remarks, never repairs: only the user knows what a number means.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

FEW_PARAMS, FEW_TOKENS = 1e4, 1e6  # only tiny models and toy tables have medians below these
SETTINGS = ("n_params", "d_model", "width", "n_layers", "depth", "batch_tokens", "seed")
# What tells runs apart, where they ran or what came of them, but not how they were set up.
NO_SETTINGS = (
    *("run_id", "stage", "status", "seed", "flops", "loss", "n_steps", "epochs", "n_embed", "n_total"),
    *("device", "host", "user", "tags", "notes", "name", "created"),
)
SHOWN_VALUES = 4  # of a setting
CURVE_ROWS = 6  # so many rows of one model, each better than the one before, are rarely runs of their own
UNITS = "in millions or billions? or with dots between thousands? A name such as tokens (B) says the unit"
ALIKE = 0.1  # standard deviation of a logarithm: 10 % apart tells nothing of powers
SIZES = 10.0  # from the smallest to the largest model, beyond which one learning rate is not the best of all
GAPS = {"n_params": 1e3, "n_tokens": 1e3, "loss": 10.0}  # a lone value this far from the next is odd


@np.errstate(all="ignore")
def remarks(table: pd.DataFrame, needed: Sequence[str]) -> list[str]:
    """One line for each thing that a reader of the table should look at before the fit is believed."""
    made = [note for name in needed if name in GAPS for note in _apart(table, name, GAPS[name])]
    columns = {name: table[name].to_numpy(float) for name in needed if len(table)}
    n, d, loss = (columns.get(name) for name in ("n_params", "n_tokens", "loss"))
    if n is not None and d is not None:
        made += _units(n, d, table["flops"].to_numpy(float))
        made += in_line(n, d)
        made += _sweep(table)
        made += _one_rate(table, n)
    if loss is not None and np.isfinite(loss).any():
        made += _losses(loss[np.isfinite(loss)], n)
        if n is not None and d is not None:
            made += _direction(n * d, loss)
    return made


def _apart(table: pd.DataFrame, column: str, gap: float) -> list[str]:
    """The largest or the smallest value, if it stands alone."""
    values = table[column].to_numpy(float)
    order = np.flatnonzero(np.isfinite(values))[np.argsort(values[np.isfinite(values)], kind="stable")]
    if len(order) < 4:
        return []
    ends = [(order[-1], order[-2]), (order[0], order[1])]
    return [
        f"{column}={values[end]:.6g} stands alone, the next is {values[other]:.6g}: a slip or a diverged run?"
        for end, other in ends
        if abs(np.log(values[end] / values[other])) > np.log(gap)
    ]


def _units(n: np.ndarray, d: np.ndarray, flops: np.ndarray) -> list[str]:
    size, tokens = np.median(n), np.median(d)
    if size < FEW_PARAMS and tokens / size > 1e4:
        return [f"the median n_params is {size:.3g} beside {tokens:.3g} tokens: {UNITS}"]
    if tokens < FEW_TOKENS and size / tokens > 1e2:
        return [f"the median n_tokens is {tokens:.3g} beside {size:.3g} parameters: {UNITS}"]
    excess = np.median(flops / (6.0 * n * d))
    if not 1e-3 < excess < 1e2:
        return [f"flops are {excess:.2g} times 6 * n_params * n_tokens: another unit (PF-days, GFLOP)?"]
    return []


def in_line(n: np.ndarray, d: np.ndarray) -> list[str]:
    """A line where tokens grow with size, from row to row, along one line of their logarithms [rows]."""
    log = np.log(np.stack([n, d], axis=1))
    if len(log) < 3 or not np.isfinite(log).all():
        return []
    strength, directions = np.linalg.svd(log - log.mean(axis=0), full_matrices=False)[1:]
    along, aside = strength / np.sqrt(len(log))
    up = directions[0, 0] * directions[0, 1]
    if aside > ALIKE or along < ALIKE or up < ALIKE:  # fixed size, tokens or compute is another thing
        return []
    per_param = log[:, 1] - log[:, 0]
    what = (
        f"n_tokens / n_params is {np.exp(np.median(per_param)):.4g} in every row"
        if np.std(per_param) < ALIKE
        else "n_tokens follow n_params along one line"
    )
    return [f"{what}: what size and data each do for the loss cannot be told apart; add runs at other ratios"]


def _sweep(table: pd.DataFrame) -> list[str]:
    """Learning rates varied on purpose; of a study, `Runs.usable` knows which rows these are."""
    if "lr" not in table or "stage" in table:
        return []
    rates = table.groupby(["n_params", "n_tokens"])["lr"].nunique().to_numpy()
    if len(rates) > len(table) / 3 or np.median(rates) < 3:
        return []
    return [
        f"{len(rates)} pairs of n_params and n_tokens have {np.median(rates):.0f} learning rates each: a "
        "sweep? A law of the loss is fitted to the best of each pair alone"
    ]


def _one_rate(table: pd.DataFrame, n: np.ndarray) -> list[str]:
    """A learning rate that was tuned at one size, if at any, and kept at all others."""
    rates = set(table["lr"].to_numpy(float)) if "lr" in table else set()
    mup = "parametrization" in table and set(map(str, table["parametrization"])) == {"mup"}
    if mup or len(rates) != 1 or not n.max() > SIZES * n.min() > 0:
        return []
    return [
        f"lr is {rates.pop():.4g} at every size from {n.min():.3g} to {n.max():.3g} parameters: "
        "without muP the best falls with size, so runs far from where it was tuned lose"
    ]


def _losses(loss: np.ndarray, n: np.ndarray | None) -> list[str]:
    if len(loss) > 1 and np.ptp(loss) == 0:
        return [f"every loss is {loss[0]:.6g}: there is nothing to fit"]
    if np.median(n if n is not None else 0.0) > 1e8 and loss.max() < 1.3:
        return [f"every loss is below {loss.max():.3g}: per byte, not per token?"]
    if np.median(loss) > 12:
        return [f"the median loss is {np.median(loss):.4g}: a perplexity? Its logarithm is the loss"]
    return []


def _direction(compute: np.ndarray, loss: np.ndarray) -> list[str]:
    done = np.isfinite(loss)
    if done.sum() < 5 or np.ptp(loss[done]) == 0 or np.ptp(compute[done]) < ALIKE * compute[done].max():
        return []  # of a single budget ranks are those of rounding
    rank = pd.Series(compute[done]).rank().corr(pd.Series(loss[done]).rank())
    if rank > 0.3:
        return [f"the loss grows with compute (rank correlation {rank:.2f}): is the column a loss?"]
    return []


def rows_and_runs(table: pd.DataFrame) -> list[str]:
    """A line that says how rows belong to runs, where it is not one row a run."""
    if "run_id" in table:
        n_runs = len(table["run_id"].astype(str).unique())
        return [f"{len(table)} rows of {n_runs} runs: resampled by run"] if n_runs < len(table) else []
    if not {"n_params", "n_tokens", "loss"} <= set(table.columns):
        return []
    settings = [name for name in SETTINGS if name in table and pd.api.types.is_numeric_dtype(table[name])]
    done = table.loc[np.isfinite(table["loss"].to_numpy(float))]
    curve = done.sort_values("n_tokens").groupby(settings, dropna=False, sort=False)
    steps = curve[["n_tokens", "loss"]].diff().to_numpy(float)
    n_curves, falling = int(curve.ngroups), int(((steps[:, 0] > 0) & (steps[:, 1] < 0)).sum())
    if len(done) < CURVE_ROWS * n_curves or falling < len(done) - n_curves:
        return []
    return [
        f"the rows look like points of {n_curves} loss curves (same {', '.join(settings)}, the loss falling "
        "with n_tokens), but no column names the run: if they are, give --columns run_id=…, or the intervals "
        "will be too narrow"
    ]


def mixed_run(table: pd.DataFrame) -> str | None:
    """A run_id with several n_params, which shows that it names no runs; None if there is none."""
    if not {"run_id", "n_params"} <= set(table.columns):
        return None
    names = table["run_id"].astype(str)
    first = table["n_params"].groupby(names).transform("first")
    mixed = np.flatnonzero(table["n_params"].to_numpy() != first.to_numpy())
    return names.iloc[mixed[0]] if len(mixed) else None


def unmodelled(table: pd.DataFrame, columns: Sequence[str], target: str) -> list[str]:
    """A line where rows that a law of these columns takes for alike were made with different settings.

    Settings are numbers that differ at the same place of the law, or words that differ at the same size, and
    that come again: what was measured is another number in every row.
    """
    place = [np.round(np.log(table[name].clip(lower=1e-300).to_numpy(float)), 3) for name in columns]
    at_place, at_size = pd.MultiIndex.from_arrays(place).factorize()[0], place[0]
    found = []
    for name in table.columns.difference([*columns, target, *NO_SETTINGS], sort=False):
        is_number = pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])
        cells = table[name] if is_number else table[name].astype(str)
        which, values = pd.factorize(cells, use_na_sentinel=False)
        if not 1 < len(values) <= len(table) / 2:
            continue
        kinds = pd.Series(which).groupby(at_place if is_number else at_size).nunique().to_numpy()
        if (kinds > 1).any():
            few = [*sorted(map(str, values))[:SHOWN_VALUES], *(["…"] if len(values) > SHOWN_VALUES else [])]
            found.append(f"{name} ({', '.join(few)})")
    what = " and in ".join(found)
    return [f"rows differ in {what}, which the law does not read: they are fitted as alike"] if what else []
