"""Why not to lean on a fit, in a few words that stand beside whatever it predicts."""

from collections.abc import Sequence

from scaling.profiles.isoflop import Profiles

RUNS_A_PARAMETER = 3  # with fewer runs a law follows their noise
BUDGETS = 3  # of compute; through two a law of the loss has no bend
SPAN = 4.0  # the runs' largest compute over the smallest, below which they say little of the way ahead
ILL_CONDITIONED = 1e3  # of the slopes, from where on parameters stand in for each other


def too_few(n_runs: int, n_params: int, n_budgets: int | None = None) -> list[str]:
    """What is said of a table, or of the plan of one, that is small for a law of so many parameters."""
    found = [f"{n_runs} runs for {n_params} parameters"] if n_runs < RUNS_A_PARAMETER * n_params else []
    if n_budgets is not None and n_budgets < BUDGETS:
        found.append("a single budget of compute" if n_budgets == 1 else f"{n_budgets} budgets of compute")
    return found


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
