"""Runs that a study could have recorded: losses on their way by a known law, with the noise of batches.

The loss follows Chinchilla's law in the tokens so far, and falls by a share of itself as the rate decays; a
warm-up that is over at a step that does not scale gives each length another curve, as real runs have.
"""

from typing import Any

import numpy as np

from scaling.prediction.run_curves import RunCurve, curve_of

BATCH = 512
NOISE = 0.006  # of a line's mean loss


def lines(
    n_params: float, n_tokens: float, seed: int, bad: str = "", until: float = 1.0
) -> tuple[list[dict[str, Any]], float]:
    """(the lines of metrics.jsonl, final validation loss) of a run that is sound, or `bad` in a known way.

    Args:
      n_params: size; n_tokens: of the whole run.
      seed: of the noise.
      bad: "lr": a rate of a quarter; "schedule": one that does not decay; "late": loss that rises from 60 %.
      until: fraction of the run that is made.
    """
    rng = np.random.default_rng(seed)
    n_steps = round(n_tokens / BATCH)
    step = np.unique([*np.round(2 ** np.arange(0, np.log2(n_steps), 0.25)).astype(int), n_steps])
    loss = _loss(n_params, n_tokens, (step + np.concatenate([[0], step[:-1]])) / 2 / n_steps, bad)
    norm = 0.5 * loss**-0.5 * (1 + 0.5 * step / n_steps)
    made = step <= until * n_steps
    events = [
        {"step": int(s), "tokens": int(s) * BATCH, "train_loss": float(each * np.exp(NOISE * rng.normal()))}
        | {"grad_norm": float(g * np.exp(0.1 * rng.normal()))}
        for s, each, g in zip(step[made], loss[made], norm[made])
    ]
    end = _loss(n_params, n_tokens, np.ones(1), bad)[0]
    return events, float(end * np.exp(0.5 * NOISE * rng.normal()))


def _loss(n_params: float, n_tokens: float, fraction: np.ndarray, bad: str) -> np.ndarray:
    seen = fraction * n_tokens * (0.25 if bad == "lr" else 1.0)
    early = 0.25 * np.exp(-seen / BATCH / 150)
    decayed = 0.1 * np.clip((fraction - 0.7) / 0.3, 0, 1) * {"lr": 0.4, "schedule": 0.0}.get(bad, 1.0)
    rise = 0.3 * np.clip(fraction - 0.6, 0, None) if bad == "late" else 0.0
    return (0.8 + 8 * n_params**-0.25 + 60 * (seen + 1) ** -0.38) * np.exp(early - decayed + rise)


def recorded(n_params: float, n_tokens: float, seed: int, bad: str = "", until: float = 1.0) -> RunCurve:
    """The curve of such a run; with `until` below 1 it is not finished."""
    events, final = lines(n_params, n_tokens, seed, bad, until)
    final = final if until == 1 else float("nan")
    return curve_of(events, f"{bad or 'sound'} {n_params:.0f} {n_tokens:.0f}", n_params, n_tokens, final)


def grid(seed: int, bad: str = "", which: int = 6) -> list[RunCurve]:
    """Four sizes at each of four budgets; run number `which` may be bad."""
    places = [
        (n, c / n)
        for c in np.geomspace(1.5e10, 1.2e11, 4)
        for n in np.sqrt(c / 20) * np.array([0.5, 0.8, 1.2, 1.8])
    ]
    return [recorded(n, d, 1000 * seed + k, bad if k == which else "") for k, (n, d) in enumerate(places)]
