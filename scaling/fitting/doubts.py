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
STEEPER = 1.5  # standard deviations of noise, from where on a loss that falls ever faster is told
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


def too_early(profiles: Profiles, n_runs: int, noise: float) -> list[str]:
    """What is said where the loss falls faster from budget to budget: a power law falls by the same power of
    compute, or a lesser one where it has a floor. Runs that small have not come to it, and larger ones end
    off its line: below while the fall goes on quickening, above once it has slowed.

    Args:
      profiles: of the runs; budgets whose best size is not among those tried do not count.
      n_runs: of all budgets; noise: standard deviation of log loss.
    """
    inner = [each for each in profiles.minima if not each.at_edge]
    if len(inner) < BUDGETS:
        return []
    log_c, log_loss = np.log([each.flops for each in inner]), np.log([each.loss for each in inner])
    design = np.vander(log_c - log_c.mean(), 3)
    bend = np.linalg.lstsq(design, log_loss, rcond=None)[0][0]
    # At its middle a parabola through n points of equal noise has 9/4 of the variance of their mean.
    of_minimum = 9 / 4 * len(profiles.minima) / n_runs * noise**2
    if bend > -STEEPER * np.sqrt(np.linalg.inv(design.T @ design)[0, 0] * of_minimum):
        return []
    falls = -np.diff(log_loss) / np.diff(log_c)
    slow, fast = max(falls[0], 0), falls[-1]
    return [
        f"the loss falls faster from budget to budget (C^-{slow:.2f} to C^-{fast:.2f}), as no power law "
        "does: larger runs may end off its line"
    ]


def doubts(
    n_runs: int,
    params: Sequence[str],
    status: str,
    condition: float,
    profiles: Profiles | None,
    span: float,
    noise: float,
) -> list[str]:
    """What makes a fit doubtful; nothing where it is as it should be.

    Args:
      n_runs: that were fitted; params: of the law.
      status: of the fit, "converged" if nothing is wrong with it.
      condition: of the slopes (`Diagnostics`).
      profiles: of the runs, where they have budgets.
      span: the runs' largest compute over their smallest; infinite where they have none.
      noise: standard deviation of a run's log loss.
    """
    n_budgets = len(profiles.minima) if profiles else None
    found = too_few(n_runs, len(params), n_budgets)
    if profiles is None and span < SPAN:
        found.append(f"their compute differs by no more than a factor of {span:.2g}")
    if status != "converged":
        found.append(status.partition(";")[0])
    if condition > ILL_CONDITIONED:
        found.append(f"condition number {condition:.1e}")
    return found + (too_early(profiles, n_runs, noise) if profiles else [])
