"""Which component each row of a run is from: at every row, each has had its share to within one row.

Rows are to components as time slots are to jobs that need given shares of a processor: a component's j-th row
may not come before floor((j - 1) / share) and must be there by ceil(j / share), and taking the most urgent of
those that may come always succeeds, so no component is ever a whole row ahead or behind (Baruah, Cohen,
Plaxton & Varvel 1996, "Proportionate progress"; on one processor the earliest deadline first is enough).
Shares are whole numbers of rows in a period, so the schedule of one period is all there is to know.
"""

import functools
import heapq
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

PERIOD = 100_000  # rows: shares are rounded to multiples of 1 / PERIOD where they are no simpler fractions


@dataclass(frozen=True)
class Schedule:
    """`component` int32[P]: of each row of a period; `number` int64[P]: which of its rows in the period that
    is, from 0; `counts` int64[k]: rows of each component in a period."""

    component: np.ndarray
    number: np.ndarray
    counts: np.ndarray

    def rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of rows int64[R] of the run, counted from 0: the component, and which of its rows it is, int64[R]
        each."""
        period, place = np.divmod(rows, len(self.component))
        component = self.component[place]
        return component, period * self.counts[component] + self.number[place]

    def rows_until(self, n_rows: int) -> np.ndarray:
        """int64[k]: how many of the first `n_rows` rows of a run are of each component."""
        periods, rest = divmod(n_rows, len(self.component))
        return periods * self.counts + np.bincount(self.component[:rest], minlength=len(self.counts))


def schedule(shares: np.ndarray) -> Schedule:
    """The schedule of shares float64[k], which sum to 1; components whose share is 0 have no rows."""
    return _schedule(tuple(rows_of_a_period(shares)))


def rows_of_a_period(shares: np.ndarray) -> list[int]:
    """Rows of each component in a period: exactly in proportion where the shares are fractions with a common
    denominator up to PERIOD, else of PERIOD rows by largest remainders, at least one for a share above 0."""
    fractions = [Fraction(float(share)).limit_denominator(PERIOD) for share in shares]
    period = math.lcm(*(fraction.denominator for fraction in fractions))
    is_exact = np.allclose(np.array(fractions, float), shares, rtol=1e-9, atol=0)
    if period <= PERIOD and sum(fractions) == 1 and is_exact:
        return [int(fraction * period) for fraction in fractions]
    wanted = np.asarray(shares) * PERIOD
    counts = np.maximum(np.floor(wanted), wanted > 0).astype(int)
    for i in np.argsort(counts - wanted, kind="stable")[: max(0, PERIOD - counts.sum())]:
        counts[i] += 1
    while counts.sum() > PERIOD:  # many tiny shares were raised to one row
        counts[np.argmax(counts)] -= 1
    return counts.tolist()


@functools.lru_cache(maxsize=64)
def _schedule(counts: tuple[int, ...]) -> Schedule:
    period = sum(counts)
    component, number = np.empty(period, np.int32), np.empty(period, np.int64)
    # (row from which it may come, row by which it must be there, component, which of its rows)
    waiting = [(0, _deadline(1, n, period), i, 0) for i, n in enumerate(counts) if n]
    urgent: list[tuple[int, int, int]] = []
    heapq.heapify(waiting)
    for row in range(period):
        while waiting and waiting[0][0] <= row:
            _, deadline, i, j = heapq.heappop(waiting)
            heapq.heappush(urgent, (deadline, i, j))
        _, i, j = heapq.heappop(urgent)
        component[row], number[row] = i, j
        if j + 1 < counts[i]:
            release = (j + 1) * period // counts[i]
            heapq.heappush(waiting, (release, _deadline(j + 2, counts[i], period), i, j + 1))
    return Schedule(component, number, np.array(counts, np.int64))


def _deadline(j: int, count: int, period: int) -> int:
    return -(-j * period // count)
