"""What a token costs: exact on a ladder, above 6·N beyond the runs, 6·N itself where that was counted."""

import numpy as np
import pandas as pd
import pytest

from models import count, ladder
from scaling.table.flops_per_token import FlopsPerToken, flops_per_token
from scaling.table.runs import Runs

VOCABULARY, LENGTH = 259, 128


def runs_of(n_params, cost, **conventions) -> Runs:
    n_params = np.asarray(n_params, float)
    n_tokens = 20 * n_params
    columns = {"n_params": n_params, "n_tokens": n_tokens, "flops": n_tokens * np.asarray(cost, float)}
    return Runs(pd.DataFrame(columns), conventions)


def counted(widths) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and FLOPs a token of our own ladder."""
    counts = [count(ladder(width, VOCABULARY)) for width in widths]
    return np.array([c.n_params for c in counts]), np.array([c.flops_per_token(LENGTH) for c in counts])


def test_models_of_the_ladder_cost_what_is_counted_however_far_beyond_the_runs():
    n_params, flops = counted((16, 64, 128, 256, 512))
    stated = {"n_params": n_params.tolist(), "flops": flops.tolist()}
    cost = flops_per_token(runs_of(n_params[:3], flops[:3], ladder=stated))
    assert cost(n_params) == pytest.approx(flops, rel=1e-9)
    assert FlopsPerToken.from_json(cost.to_json())(n_params) == pytest.approx(flops, rel=1e-9)


def test_without_a_stated_ladder_the_excess_of_attention_fades_and_never_falls_below_six_a_parameter():
    """The power law of the cost itself, which this replaces, gave 0.73 of 6·N here, and less beyond."""
    n_params, flops = counted((16, 24, 32, 40, 48, 56, 64))
    cost = flops_per_token(runs_of(n_params, flops))
    assert cost(n_params) == pytest.approx(flops, rel=1e-9)
    (large,), (true,) = counted([256])
    assert cost(float(large)) == pytest.approx(true, rel=0.03)
    far = np.geomspace(1e6, 1e13, 30)
    assert (cost(far) > 6 * far).all() and cost(1e13) == pytest.approx(6e13, rel=1e-3)


def test_a_ladder_that_the_runs_are_not_on_is_not_theirs():
    n_params, flops = counted((16, 32, 64))
    stated = {"n_params": n_params.tolist(), "flops": (1.3 * flops).tolist()}
    assert flops_per_token(runs_of(n_params, flops, ladder=stated))(n_params) == pytest.approx(flops)


def test_six_a_parameter_is_no_other_count():
    n_params = np.geomspace(1e8, 1e10, 5)
    assert flops_per_token(runs_of(n_params, 6 * n_params * 1.0001)) is None


def test_what_was_counted_as_less_keeps_its_ratio_and_scattered_counts_give_a_smooth_cost():
    n_params = np.geomspace(1e8, 1e10, 40)
    less = flops_per_token(runs_of(n_params, 4 * n_params))
    assert less(1e13) == pytest.approx(4e13)
    scatter = np.exp(0.02 * np.random.default_rng(0).standard_normal(40))
    smooth = flops_per_token(runs_of(n_params, 6 * n_params * (1 + 0.2 * (n_params / 1e8) ** -0.3) * scatter))
    assert len(smooth.n_params) == 2 and np.all(smooth(np.array([1e12, 1e14])) >= [6e12, 6e14])
    assert smooth(1e9) == pytest.approx(6e9 * (1 + 0.2 * 10**-0.3), rel=0.03)
