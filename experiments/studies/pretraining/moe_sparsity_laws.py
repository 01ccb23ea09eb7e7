"""What the study `moe_sparsity` computes from its law: what experts are worth, the best number, and words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.studies.pretraining import larger_run
from scaling.optimum.experts import best_experts


def worth(law: scaling.Fit, expansion: int, granularity: int) -> dict[str, Any]:
    """By how much so many experts multiply the parameters that a token meets, coarse and fine.

    Args:
      law: of sparsity. expansion: of the experts. granularity: of the fine ones.
    """
    names = list(law.params)
    drawn = np.vstack([list(law.params.values()), law.samples])
    rho, eta = (drawn[:, names.index(name)] for name in ("rho", "eta"))
    coarse, fine = expansion**rho, expansion ** (rho + eta * np.log(granularity))
    ends = [(1 - law.level) / 2, (1 + law.level) / 2]
    found = {"coarse": coarse, "fine": fine, "finer": fine / coarse}
    said = {name: [float(each[0]), *np.quantile(each[1:], ends).tolist()] for name, each in found.items()}
    return said | {"expansion": expansion, "granularity": granularity, "level": law.level}


def best_sparsity(
    law: scaling.Fit, budgets: np.ndarray, expansions: Sequence[int], granularity: int, memory: float
) -> pd.DataFrame:
    """The expansion of the lowest loss at each budget, without a limit and within a memory, a row each.

    lo and hi are the ends of the expansions that hold `level` of the law's draws; losses: of each expansion.

    Args:
      law: of sparsity.
      budgets: FLOPs.
      expansions: to choose from, ascending.
      granularity: of the experts.
      memory: all parameters there may be, in units of the dense model that is best at the budget.
    """
    rows = []
    for flops in budgets:
        dense = best_experts(law, flops, n_experts=(1,), granularity=granularity).n_active
        for limit in (np.inf, memory):
            found = best_experts(
                law, flops, n_experts=expansions, max_total=limit * dense, granularity=granularity
            )
            below = np.cumsum(found.chances)
            lo, hi = (
                found.choices[min(np.searchsorted(below, end), len(below) - 1)] for end in _ends(law.level)
            )
            row = {"flops": float(flops), "memory": limit, "expansion": found.n_experts, "lo": lo, "hi": hi}
            row |= {"sparsity": found.sparsity, "n_active": found.n_active, "n_total": found.n_total}
            rows.append(row | {"loss": found.loss, "losses": found.choice_losses})
    return pd.DataFrame(rows)


def in_words(found: dict[str, Any]) -> str:
    """The finding, a line each; found: moe_sparsity.json."""
    worth, run = found["worth"], found["larger"]
    x, level = worth["expansion"], worth["level"]
    finer = worth["finer"]
    told = "" if finer[1] > 1 or finer[2] < 1 else ", which the runs do not tell from 1"
    lines = [
        f"{x} times the expert parameters count as {_interval(worth['coarse'])} times the active ones",
        f"experts {worth['granularity']} times finer multiply that by {_interval(finer)}{told} ({level:.0%})",
    ]
    for row in found["best"]:
        limit = (
            "without a limit" if np.isinf(row["memory"]) else f"in the memory of {row['memory']:g} dense ones"
        )
        lines.append(
            f"at {row['flops']:.1e} FLOPs {limit}: expansion {row['expansion']:.0f} "
            f"[{row['lo']:.0f}, {row['hi']:.0f}], sparsity {row['sparsity']:.2f}, "
            f"N active {row['n_active']:,.0f}, loss {row['loss']:.3f}"
        )
    held = larger_run.in_words(run, f"{run['dense']:.4f} if dense")
    lines.append(
        f"N active = {run['n_active']:,} with expansion {run['expansion']} on {run['n_tokens']:,} tokens: "
        f"{held}"
    )
    return "\n".join(lines)


def _ends(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _interval(value: Sequence[float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*value)
