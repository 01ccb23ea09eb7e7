"""Approach 1: the best run at each compute."""

import numpy as np
import pandas as pd
import pytest

from scaling.profiles.envelope import envelope
from scaling.table.runs import check
from tests.scaling.planted import TRUTH, chinchilla, isoflop_points, isoflop_runs

A = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])


def curves(noise=0.0):
    """Runs of 12 sizes, each measured at many token counts."""
    rng, rows = np.random.default_rng(0), []
    for run, n in enumerate(np.geomspace(1e7, 1e10, 12)):
        d = np.geomspace(2 * n, 200 * n, 60)
        loss = chinchilla(n, d, **TRUTH) * np.exp(noise * rng.standard_normal())
        rows.append(pd.DataFrame({"run_id": str(run), "n_params": n, "n_tokens": d, "loss": loss}))
    return check(pd.concat(rows), {})


def test_the_envelope_of_whole_curves_has_the_laws_exponent():
    found = envelope(curves().usable())
    assert found is not None and found.exponent == pytest.approx(A, abs=0.02) and found.lo < A < found.hi


def test_a_hand_made_envelope():
    """Sizes 1, 10, 100 are best from FLOPs 6, 600 and 60,000 on; dominated runs do not count."""
    n, d = [1.0, 10.0, 100.0, 50.0], [1.0, 10.0, 100.0, 1000.0]
    table = pd.DataFrame({"n_params": n, "n_tokens": d, "loss": [4.0, 3.0, 2.0, 3.5]})
    found = envelope(check(table, {}).usable(), n_bootstrap=0)
    middles = np.log([60.0, 6e3, (6e4 * 3e5) ** 0.5])
    assert found is not None and np.isnan(found.lo)
    assert found.exponent == pytest.approx(np.polyfit(middles, np.log([1, 10, 100]), 1)[0])


@pytest.mark.parametrize("off", [0.0, 1e-9, 3e-3])
def test_rounding_of_flops_decides_nothing(off):
    """Within a budget FLOPs differ by whole steps, or in the last digit where they are read as 6·N·D."""
    n, d = isoflop_points((1e18, 3e18, 1e19, 3e19, 1e20), sizes=9)
    tokens = d * np.exp(off * np.random.default_rng(0).uniform(-1, 1, len(d)))
    table = pd.DataFrame({"n_params": n, "n_tokens": tokens, "loss": chinchilla(n, d, **TRUTH)})
    for given in (table, table.assign(flops=np.round(6 * n * d, -14))):
        found = envelope(check(given, {}).usable(), n_bootstrap=0)
        assert found is not None and found.exponent == pytest.approx(A, abs=0.002)


def test_resampling_is_by_run():
    noisy = envelope(curves(noise=0.01).usable())
    assert noisy is not None and noisy.hi - noisy.lo > 0.02


def test_too_few_sizes_have_no_envelope():
    table = isoflop_runs().table
    assert (
        envelope(check(table[table.n_params < table.n_params.nsmallest(2).max() * 1.01], {}).usable()) is None
    )
