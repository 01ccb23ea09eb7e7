"""The critical batch: beyond it more tokens in a batch save few steps, below it they cost few more tokens.

McCandlish et al. 2018 (arXiv 1812.06162, eq. 2.11): to reach a given loss, steps S and tokens E at a batch of
B tokens trade as (S / S_min - 1)(E / E_min - 1) = 1, that is S = S_min (1 + B_crit / B) and
E = E_min (1 + B / B_crit) with B_crit = E_min / S_min.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from scaling.profiles.isoflop import PowerLaw

MIN_BATCHES = 3
LEAST_NOISE = 0.01  # of the steps: interpolated counts are no better than that
SPAN = np.log(1e3)  # how far beyond the batches tried a critical batch is looked for …
GRID = 2001  # … and in how many steps


@dataclass(frozen=True)
class CriticalBatch:
    """B_crit in tokens, with its interval: 0 or infinite at an end that the batches tried leave open."""

    batch_tokens: float
    lo: float
    hi: float
    least_steps: float
    least_tokens: float
    level: float


def trade_off(batch_tokens, critical_batch, least_steps) -> tuple[Any, Any]:
    """(steps, tokens) to the same loss at a batch, all in tokens (1812.06162, eq. 2.11)."""
    steps = least_steps * (1 + critical_batch / np.asarray(batch_tokens, float))
    return steps, steps * batch_tokens


def fit_critical_batch(batch_tokens, tokens, level: float = 0.9) -> CriticalBatch:
    """The trade-off through the tokens that each batch needed to reach one loss (see `tokens_to_loss`).

    Batches smaller than the one that needed fewest tokens are left out: the law has no such batches.
    Least squares of log tokens; the interval is of the profile likelihood, by Student's t.

    Raises:
      ValueError: fewer than three batches are left.
    """
    batch, needed = np.asarray(batch_tokens, float), np.asarray(tokens, float)
    kept = batch >= batch[np.argmin(needed)] if len(batch) else np.zeros(0, bool)
    if len(np.unique(batch[kept])) < MIN_BATCHES:
        raise ValueError(
            f"{len(np.unique(batch[kept]))} batches from the best upwards; a critical batch takes "
            f"{MIN_BATCHES} at least: add larger ones"
        )
    log_batch, log_needed = np.log(batch[kept]), np.log(needed[kept])
    log_critical = np.linspace(log_batch.min() - SPAN, log_batch.max() + SPAN, GRID)[:, None]
    left = log_needed - np.logaddexp(0, log_batch - log_critical)
    log_least = left.mean(axis=1)
    squares = np.sum((left - log_least[:, None]) ** 2, axis=1)
    spare, best = len(log_batch) - 2, int(np.argmin(squares))
    variance = max(squares[best] / spare, LEAST_NOISE**2)
    inside = squares - squares[best] <= variance * stdtrit(spare, (1 + level) / 2) ** 2
    critical, least_tokens = float(np.exp(log_critical[best, 0])), float(np.exp(log_least[best]))
    ends = np.exp(log_critical[inside, 0])
    return CriticalBatch(
        batch_tokens=critical,
        lo=0.0 if inside[0] else float(ends[0]),
        hi=np.inf if inside[-1] else float(ends[-1]),
        least_steps=least_tokens / critical,
        least_tokens=least_tokens,
        level=level,
    )


def tokens_to_loss(batch_tokens, n_tokens, loss, target: float) -> tuple[np.ndarray, np.ndarray]:
    """(batches, tokens): what each batch needs to reach `target`, of runs of one model on different n_tokens.

    Of runs at the same batch and tokens the best counts (its learning rate was the right one); between tokens
    the log loss is interpolated in log tokens. Batches whose losses do not bracket the target are left out.

    Args:
      batch_tokens, n_tokens: of each run [runs], in tokens.
      loss: of each run [runs], nats per token; infinite or NaN where it diverged.
      target: the loss to be reached, nats per token.
    """
    batch, tokens, losses = (np.asarray(v, float) for v in (batch_tokens, n_tokens, loss))
    done = np.isfinite(losses)
    batch, tokens, losses = batch[done], tokens[done], losses[done]
    batches, needed = [], []
    for size in np.unique(batch):
        lengths = np.unique(tokens[batch == size])
        best = [np.min(losses[(batch == size) & (tokens == length)]) for length in lengths]
        falling = np.minimum.accumulate(best)
        if falling[-1] < target < falling[0]:
            batches.append(size)
            at = np.interp(-np.log(target), -np.log(falling), np.log(lengths))
            needed.append(np.exp(at))
    return np.array(batches), np.array(needed)


def law_of(x, critical_batches, level: float = 0.9) -> PowerLaw:
    """B_crit = coefficient * x^exponent by least squares of logs.

    x is n_tokens, as Zhang et al. 2024 find (arXiv 2410.21676: exponent 0.47, and next to none of n_params),
    or the loss, as in `kaplan`.

    Raises:
      ValueError: fewer than three points.
    """
    log_x, log_batch = np.log(np.asarray(x, float)), np.log(np.asarray(critical_batches, float))
    spare = len(log_x) - 2
    if spare < 1:
        raise ValueError(f"{len(log_x)} critical batches; a power law with an interval takes 3 at least")
    exponent, height = np.polyfit(log_x, log_batch, 1)
    squares = np.sum((log_batch - height - exponent * log_x) ** 2)
    error = np.sqrt(squares / spare / np.sum((log_x - log_x.mean()) ** 2))
    half = float(stdtrit(spare, (1 + level) / 2) * error)
    return PowerLaw(float(np.exp(height)), float(exponent), float(exponent) - half, float(exponent) + half)


def kaplan(loss, batch_star: float = 2e8, alpha: float = 0.21) -> Any:
    """B_crit = B* / L^(1 / alpha_B) in tokens at a loss in nats per token.

    Kaplan et al. 2020 (arXiv 2001.08361, eq. 1.4; WebText2 with their tokenizer).
    """
    return batch_star / np.asarray(loss, float) ** (1 / alpha)


def sgd_lr(batch_tokens, critical_batch) -> Any:
    """Best rate of SGD relative to that of an infinite batch: linear, then flat (1812.06162, eq. 2.6)."""
    return 1 / (1 + critical_batch / np.asarray(batch_tokens, float))


def adam_lr(batch_tokens, critical_batch) -> Any:
    """Best rate of Adam relative to its peak, which lies at the critical batch.

    Far below it the square-root rule of Malladi et al. 2022 (arXiv 2205.10287), beyond it falling: the surge
    of Li et al. 2024 (2405.14578, theorem 3).
    """
    root = np.sqrt(np.asarray(batch_tokens, float) / critical_batch)
    return 2 / (root + 1 / root)
