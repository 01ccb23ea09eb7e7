"""Why not to lean on a fit, in a few words that stand beside whatever it predicts."""

from collections.abc import Mapping, Sequence

import numpy as np

from scaling.laws import Law
from scaling.profiles.isoflop import Profiles
from scaling.table.table_checks import ALIKE, in_line

RUNS_A_PARAMETER = 3  # with fewer runs a law follows their noise
BUDGETS = 3  # of compute; through two a law of the loss has no bend
SPAN = 4.0  # the runs' largest compute over the smallest, below which they say little of the way ahead
ILL_CONDITIONED = 1e3  # of the slopes, from where on parameters stand in for each other
OF_SIZE, OF_TOKENS = (
    ("A", "alpha", "alpha_N"),
    ("B", "beta", "alpha_D"),
)  # parameters of laws that have both terms


def too_few(n_runs: int, n_params: int, n_budgets: int | None = None) -> list[str]:
    """What is said of a table, or of the plan of one, that is small for a law of so many parameters."""
    found = [f"{n_runs} runs for {n_params} parameters"] if n_runs < RUNS_A_PARAMETER * n_params else []
    if n_budgets is not None and n_budgets < BUDGETS:
        found.append("a single budget of compute" if n_budgets == 1 else f"{n_budgets} budgets of compute")
    return found


def design_doubts(law: Law, x: Mapping[str, np.ndarray]) -> list[str]:
    """What the places of the runs leave open, whatever their losses are: which parameters of the law.

    Args:
      law: that is to be fitted; x: its columns [rows].
    """
    if law.size is None or "n_tokens" not in law.columns:
        return []
    n, d = np.asarray(x[law.size], float), np.asarray(x["n_tokens"], float)
    of_size, of_tokens = (
        ", ".join(n for n in names if n in law.params) or what
        for names, what in ((OF_SIZE, "what size does"), (OF_TOKENS, "what data do"))
    )
    fixed = [
        f"{name} is {np.median(values):.4g} in every run: {what} cannot be known"
        for name, values, what in ((law.size, n, of_size), ("n_tokens", d, of_tokens))
        if np.ptp(np.log(values)) < ALIKE
    ]
    line = [each.partition(":")[0].replace("every row", "every run") for each in in_line(n, d)]
    return [*fixed, *[f"{each}: {of_size} cannot be told from {of_tokens}" for each in line]]


def doubts(
    n_runs: int, params: Sequence[str], status: str, condition: float, profiles: Profiles | None, span: float
) -> list[str]:
    """What makes a fit doubtful; nothing where it is as it should be.

    Args:
      n_runs: that were fitted; params: of the law.
      status: of the fit, "converged" if nothing is wrong with it.
      condition: of the slopes (`Diagnostics`).
      profiles: of the runs, where they have budgets.
      span: the runs' largest compute over their smallest; infinite where they have none.
    """
    n_budgets = len(profiles.minima) if profiles else None
    found = too_few(n_runs, len(params), n_budgets)
    if profiles is None and span < SPAN:
        found.append(f"their compute differs by no more than a factor of {span:.2g}")
    if status != "converged":
        found.append(status.partition(";")[0])
    if condition > ILL_CONDITIONED:
        found.append(f"condition number {condition:.1e}")
    return found
