"""The compute-optimal split of a budget: closed form, numbers and ladders agree."""

import numpy as np
import pytest

import scaling
from scaling import laws
from scaling.fitting.result import Fit
from scaling.fitting.uncertainty import Forecast
from scaling.optimum.frontier import frontier
from tests.scaling.planted import TRUTH, best_size, chinchilla, isoflop_runs

FLOPS = np.array([1e19, 1e21, 1e23])
# The law of Hoffmann et al. 2022 (arXiv 2203.15556), appendix D.3.
HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}


def known(params: dict[str, float], law: str = "chinchilla", draws: np.ndarray | None = None) -> Fit:
    """A fit with these parameters, exactly; with draws of them [draws, params], less exactly."""
    form = laws.find(law)
    theta = np.array([params[name] for name in form.params])
    samples = np.zeros((0, len(theta))) if draws is None else draws
    covariance = np.zeros((len(theta), len(theta))) if draws is None else np.cov(draws, rowvar=False)
    one = np.ones(1)
    forecast = Forecast(
        law, theta, samples, noise=0.003, dof=20.0, units=dict.fromkeys((*form.columns, "loss"), 1.0),
        center=theta, covariance=covariance, discrepancy=None, x=dict.fromkeys(form.columns, one), y=one,
        spread=one,
    )  # fmt: skip
    return Fit(
        law=law, approach=3, params=params, ci={}, level=0.9, samples=samples, exponents={}, exponents_ci={},
        n_points=0, dropped=0, objective=0.0, delta=1e-3, forecast=forecast, profiles=None, status="known",
        notes=(), conventions={},
    )  # fmt: skip


def spread(truth: dict[str, float], n: int = 300, seed: int = 0) -> np.ndarray:
    """Draws around Chinchilla's parameters."""
    sd = [0.02, 0.05, 0.05, 0.01, 0.01]
    return np.array(list(truth.values())) * np.exp(np.random.default_rng(seed).normal(0, sd, (n, 5)))


@pytest.fixture(scope="module")
def fit():
    return scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=60)


@pytest.fixture(scope="module")
def exact():
    return scaling.fit(isoflop_runs(), n_bootstrap=0)


@pytest.fixture(scope="module")
def plain():
    """Chinchilla's law itself, with draws."""
    return known(TRUTH, draws=spread(TRUTH, 60))


@pytest.mark.parametrize("law", ["fit", "plain"])
def test_the_closed_form_is_the_numeric_optimum(law, request):
    fit = request.getfixturevalue(law)
    closed = frontier(fit, FLOPS)
    numeric = frontier(fit, FLOPS, lambda n_params: 6.0 * n_params)
    for name in ("n_params", "n_params_lo", "n_params_hi", "n_tokens", "n_tokens_lo", "n_tokens_hi", "loss"):
        np.testing.assert_allclose(getattr(closed, name), getattr(numeric, name), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(6 * closed.n_params * closed.n_tokens, FLOPS)


def test_the_optimum_of_a_known_law(exact):
    found = frontier(exact, FLOPS)
    np.testing.assert_allclose(found.n_params, best_size(FLOPS, **TRUTH), rtol=1e-4)
    assert np.isnan(found.n_params_lo).all()


def test_the_forecast_s_own_optimum_is_reported_where_its_law_is_not_the_fitted_one(fit):
    found = frontier(fit, 1e21)
    sizes = found.n_params * np.array([0.8, 0.95, 1.0, 1.05, 1.25])
    assert np.argmin(fit.predict(sizes, 1e21 / (6 * sizes)).loss) == 2


def test_dearer_tokens_for_large_models_move_the_optimum_down(fit):
    plain = frontier(fit, FLOPS)
    dear = frontier(fit, FLOPS, lambda n_params: 6.0 * n_params * (n_params / 1e8) ** 0.1)
    assert np.all(dear.n_params < plain.n_params)
    np.testing.assert_allclose(dear.n_tokens * 6 * dear.n_params * (dear.n_params / 1e8) ** 0.1, FLOPS)


def test_a_ladder_gives_its_best_rung_and_one_size_itself(fit):
    rungs = np.geomspace(1e7, 1e12, 31)
    found, free = frontier(fit, FLOPS, sizes=rungs), frontier(fit, FLOPS)
    assert np.all(np.isin(found.n_params, rungs))
    np.testing.assert_allclose(np.log(found.n_params / free.n_params), 0, atol=np.log(rungs[1] / rungs[0]))
    given = frontier(fit, 1e21, sizes=[3e9])
    assert given.n_params == given.n_params_lo == given.n_params_hi == 3e9
    assert given.n_tokens == pytest.approx(1e21 / 18e9)


def test_limits_bind_where_the_free_optimum_is_beyond_them(plain):
    free = frontier(plain, FLOPS)
    small = frontier(plain, FLOPS, max_params=2 * free.n_params[0])
    np.testing.assert_allclose(small.n_params, [free.n_params[0], *2 * free.n_params[[0, 0]]], rtol=1e-5)
    np.testing.assert_allclose(6 * small.n_params * small.n_tokens, FLOPS)
    few = frontier(plain, FLOPS, max_tokens=2 * free.n_tokens[0])
    np.testing.assert_allclose(few.n_tokens, [free.n_tokens[0], *2 * free.n_tokens[[0, 0]]], rtol=1e-4)
    np.testing.assert_allclose(6 * few.n_params * few.n_tokens, FLOPS, rtol=1e-4)
    fewest = frontier(plain, FLOPS, max_tokens=10.0)  # far from the free optimum, and still all are read
    np.testing.assert_allclose(fewest.n_tokens, 10.0, rtol=1e-4)
    np.testing.assert_allclose(6 * fewest.n_params * fewest.n_tokens, FLOPS, rtol=1e-4)
    both = frontier(plain, FLOPS, max_params=free.n_params[0], max_tokens=free.n_tokens[0])
    np.testing.assert_allclose(both.n_params, free.n_params[0], rtol=1e-4)
    np.testing.assert_allclose(both.n_tokens, free.n_tokens[0], rtol=1e-4)
    assert np.all(small.loss >= free.loss - 1e-12) and np.all(few.loss >= free.loss - 1e-12)


def test_tokens_to_serve_make_the_model_smaller_and_its_training_longer(plain):
    free = frontier(plain, FLOPS)
    for tokens in (1e11, 1e13):
        serving = frontier(plain, FLOPS, inference_tokens=tokens)
        spent = 6 * serving.n_params * serving.n_tokens + 2 * serving.n_params * tokens
        np.testing.assert_allclose(spent, FLOPS)
        assert np.all(serving.n_params < free.n_params) and np.all(serving.loss > free.loss)
    # The derivative of the loss along 6 N D + 2 N T = C is zero.
    n, d = serving.n_params, serving.n_tokens
    few_params = TRUTH["alpha"] * TRUTH["A"] / n ** (TRUTH["alpha"] + 1)
    few_tokens = TRUTH["beta"] * TRUTH["B"] / d ** (TRUTH["beta"] + 1)
    np.testing.assert_allclose(few_params, few_tokens * (d + tokens / 3) / n, rtol=1e-4)


def test_repeated_tokens_are_worth_less(plain):
    known_law = known(TRUTH | {"R_D": 15.4, "R_N": 5.3}, "data_constrained")
    plenty = frontier(known_law, 1e21, unique_tokens=1e14)
    assert plenty.n_params == pytest.approx(best_size(1e21, **TRUTH), rel=1e-4)
    few = frontier(known_law, 1e21, unique_tokens=1e9)
    assert few.n_tokens > 2e9 and few.loss > plenty.loss  # several epochs are still worth their compute


def test_a_law_without_a_best_size_says_so():
    falls_with_tokens = known(TRUTH | {"A": 0.0})
    found = frontier(falls_with_tokens, [1e20, 1e21])
    assert np.isnan([found.n_params, found.n_tokens, found.loss]).all()
    capped = frontier(known(TRUTH | {"B": 0.0}), 1e21, max_params=1e9)
    assert capped.n_params == pytest.approx(1e9)


def test_intervals_hold_their_values_and_scalars_stay_scalars(fit):
    found = frontier(fit, 1e21)
    assert isinstance(found.n_params, float)
    assert found.n_params_lo < found.n_params < found.n_params_hi
    assert found.n_tokens_lo < found.n_tokens < found.n_tokens_hi
    assert found.loss_lo < found.loss < found.loss_hi
    assert frontier(fit, np.full((2, 3), 1e21)).n_tokens_hi.shape == (2, 3)


@pytest.mark.parametrize("flops", [0.0, -1e20, float("nan"), [1e20, float("inf")]])
def test_a_budget_must_be_positive_and_finite(fit, flops):
    with pytest.raises(ValueError, match="positive and finite"):
        frontier(fit, flops)


@pytest.mark.parametrize(
    "terms, words",
    [
        ({"max_params": 0}, "max_params=0.0"),
        ({"max_tokens": -1}, "max_tokens=-1"),
        ({"inference_tokens": float("nan")}, "inference_tokens=nan"),
        ({"sizes": [1e9, -1]}, "sizes="),
        ({"sizes": [1e9], "max_params": 1e8}, "at most max_params"),
        ({"unique_tokens": 1e9}, "takes no other columns to be given, not unique_tokens"),
    ],
)
def test_terms_that_make_no_sense_are_refused(fit, terms, words):
    with pytest.raises(ValueError, match=words):
        frontier(fit, 1e21, **terms)


def test_a_law_of_other_things_splits_no_budget():
    with pytest.raises(ValueError, match="takes unique_tokens to be given, not nothing"):
        frontier(known(TRUTH | {"R_D": 15.4, "R_N": 5.3}, "data_constrained"), 1e21)
    one_column = known(dict.fromkeys(laws.find("broken").params, 1.0), "broken")
    with pytest.raises(ValueError, match="only a law of loss by"):
        frontier(one_column, 1e21)


def test_the_published_optimum_of_the_published_law():
    """Hoffmann et al. 2022, figure 4: approach 3 calls 40B parameters the best for Gopher's budget."""
    assert frontier(known(HOFFMANN), 5.76e23).n_params == pytest.approx(40e9, rel=0.2)


def test_chinchilla_shapes_of_random_laws_have_no_better_neighbour():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = {"E": 1.5, "A": 10 ** rng.uniform(1, 4), "B": 10 ** rng.uniform(1, 4)}
        truth |= {"alpha": rng.uniform(0.15, 0.8), "beta": rng.uniform(0.15, 0.8)}
        found = frontier(known(truth), FLOPS)
        for factor in (0.9, 1.1):
            sizes = factor * found.n_params
            assert np.all(chinchilla(sizes, FLOPS / (6 * sizes), **truth) > found.loss)
