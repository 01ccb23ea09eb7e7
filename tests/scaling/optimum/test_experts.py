"""The best number of experts, under a law with known parameters."""

import numpy as np
import pytest

from scaling.optimum.experts import EXPERT_SHARE, best_experts
from scaling.optimum.frontier import frontier
from tests.scaling.optimum.test_frontier import known
from tests.scaling.planted import TRUTH

MOE = {
    "E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.35, "beta": 0.36, "delta": -0.15, "gamma": 0.0,
    "omega": 0.03, "zeta": 0.0, "x_start": 2.0, "x_max": 300.0,
}  # fmt: skip


def draws(n: int = 50) -> np.ndarray:
    centre = np.array(list(MOE.values()))
    return centre * np.exp(np.random.default_rng(0).normal(0, 0.02, (n, len(centre))))


@pytest.fixture(scope="module")
def law():
    return known(MOE, "moe", draws())


def test_each_choice_is_the_frontier_of_that_number_of_experts(law):
    found = best_experts(law, [1e20, 1e22], n_experts=(1, 8))
    alone = frontier(law, [1e20, 1e22], n_experts=8)
    np.testing.assert_allclose(found.choice_losses[1], alone.loss)
    np.testing.assert_allclose(found.n_active, alone.n_params)
    np.testing.assert_allclose(found.n_total, alone.n_params * (1 + EXPERT_SHARE * 7))
    np.testing.assert_allclose(found.sparsity, 1 - 1 / (1 + EXPERT_SHARE * 7))
    np.testing.assert_allclose(found.chances.sum(axis=0), 1)


def test_without_a_limit_more_experts_are_better_and_memory_makes_them_fewer(law):
    flops = 1e21
    free = best_experts(law, flops)
    assert free.n_experts == 64
    dense = frontier(law, flops, n_experts=1).n_params
    tight, roomy = (best_experts(law, flops, max_total=size * dense) for size in (0.5, 4))
    assert tight.n_experts <= roomy.n_experts < free.n_experts
    assert tight.n_total <= 0.5 * dense * (1 + 1e-9) and roomy.n_total <= 4 * dense * (1 + 1e-9)
    assert free.loss < roomy.loss < tight.loss and isinstance(tight.n_experts, float)


def test_other_laws_and_numbers_are_refused(law):
    with pytest.raises(ValueError, match="takes no other columns to be given, not n_experts"):
        best_experts(known(TRUTH), 1e21)
    with pytest.raises(ValueError, match="n_experts="):
        best_experts(law, 1e21, n_experts=(0, 2))
    with pytest.raises(ValueError, match="max_total"):
        best_experts(law, 1e21, max_total=-1.0)
