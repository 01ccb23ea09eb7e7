"""Jumps of exact match: powers by hand, verdicts on planted families, error rates in simulation."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.emergence import brier, exact_match, explain_jump

MANY = pytest.param(60, marks=pytest.mark.slow)  # families whose error rates are those stated


def family(
    seed, n=10, n_answer=10, n_questions=500, step=0.0, leap=0.0, alike=None, as_loss=False, ceiling=0.0
) -> pd.DataFrame:
    """Models whose token loss is a power law of compute, plus `ceiling`, and scatters by 3 %.

    Above 60 % of the log compute the token loss is `step` lower (in logarithms), exact match `leap` higher.
    With `alike` questions differ in difficulty: each has its own chance, from Beta(p alike, (1 - p) alike).
    """
    rng = np.random.default_rng(seed)
    u = np.linspace(-1, 1, n)
    loss = (ceiling + 0.35 * np.exp(-1.2 * u)) * np.exp(0.03 * rng.standard_normal(n) - step * (u > 0.2))
    p = np.exp(-loss)[:, None]
    chance = np.broadcast_to(p, (n, n_questions))
    if alike:
        chance = rng.beta(p * alike, (1 - p) * alike, (n, n_questions))
    right = rng.random((n, n_questions, n_answer)) < chance[..., None]
    exact = np.minimum(right.all(axis=2).mean(axis=1) + leap * (u > 0.2), 1.0)
    table = pd.DataFrame({
        "flops": np.geomspace(1e18, 1e24, n), "exact_match": exact, "n_answer": n_answer,
        "n_questions": n_questions,
    })  # fmt: skip
    smooth = {"answer_loss": loss} if as_loss else {"token_accuracy": right.mean(axis=(1, 2))}
    return table.assign(**smooth)


@cache
def jumps(seeds: int, **options):
    return [explain_jump(family(seed, **options), n_draws=120, seed=seed) for seed in range(seeds)]


def share(verdict: str, seeds: int, **options) -> float:
    return float(np.mean([one.verdict == verdict for one in jumps(seeds, **options)]))


def test_powers_by_hand():
    assert exact_match(0.5, 3) == 0.125
    assert exact_match([0.9, 1.0], 10) == pytest.approx([0.3486784401, 1.0])


def test_brier_by_hand():
    assert brier([[0.7, 0.2, 0.1]], [0]) == pytest.approx(0.3**2 + 0.2**2 + 0.1**2)
    assert brier([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == 0
    assert brier([[1.0, 0.0], [0.5, 0.5]], [1, 1]) == pytest.approx((2 + 0.5) / 2)


@pytest.mark.parametrize(
    "probabilities, right, words",
    [
        ([0.5, 0.5], [0], "expected"),
        ([[0.5, 0.4]], [0], "sum to 1"),
        ([[1.5, -0.5]], [0], "0 or more"),
        ([[0.5, 0.5]], [2], "0 to 1"),
        ([[0.5, 0.5]], [0, 1], "expected"),
    ],
)
def test_brier_refuses_what_is_no_probability(probabilities, right, words):
    with pytest.raises(ValueError, match=words):
        brier(probabilities, right)


@pytest.mark.parametrize("seeds", [12, MANY])
@pytest.mark.parametrize("options", [{}, {"as_loss": True}, {"alike": 5}, {"ceiling": 0.03, "n": 14}])
def test_a_jump_of_the_metric_is_called_so_but_for_five_per_cent(options, seeds):
    assert share("metric", seeds, **options) > (0.86 if seeds > 12 else 0.8)


@pytest.mark.parametrize("seeds", [12, MANY])
def test_a_break_of_the_smooth_metric_is_found(seeds):
    assert share("break", seeds, step=0.7) > (0.8 if seeds > 12 else 0.7)


@pytest.mark.parametrize("seeds", [12, MANY])
def test_a_leap_beside_the_smooth_metric_is_found(seeds):
    assert share("leap", seeds, leap=0.3) > (0.8 if seeds > 12 else 0.7)


@pytest.mark.slow
def test_both_tests_are_as_strict_as_stated():
    for p in ("p_leap", "p_break"):
        assert 0.01 < np.mean([getattr(one, p) < 0.1 for one in jumps(60)]) < 0.2, p
    assert np.mean([one.length_lo <= 1 <= one.length_hi for one in jumps(60)]) > 0.86


def test_independent_tokens_predict_the_power():
    found = explain_jump(family(0, n_questions=4000))
    p = family(0, n_questions=4000)["token_accuracy"]
    assert found.predicted == pytest.approx(exact_match(p, 10), abs=0.02)
    assert found.length == pytest.approx(1, abs=0.05)
    assert explain_jump(family(0, alike=2, n_questions=4000)).length < 0.6


def test_verdict_is_a_sentence_with_evidence():
    assert "all of it the metric's doing" in str(explain_jump(family(0)))
    broken = explain_jump(family(0, step=0.7))
    assert "breaks near" in str(broken) and 1e21 < broken.break_at < 1e22
    leaping = explain_jump(family(0, leap=0.3))
    assert "leaps beside it near" in str(leaping) and 1e21 < leaping.leap_at < 1e22


def test_few_models_are_not_searched_for_a_break():
    found = explain_jump(family(0, n=6))
    assert np.isnan(found.p_break) and "too few models" in str(found)


def test_order_of_rows_does_not_matter():
    table = family(3)
    assert explain_jump(table.sample(frac=1, random_state=0)).p_leap == explain_jump(table).p_leap


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.drop(columns="n_answer"), "no column n_answer"),
        (lambda t: t.drop(columns="token_accuracy"), "no column token_accuracy"),
        (lambda t: t.assign(exact_match=1.2), "exact_match: 1.2 is not from 0 to 1"),
        (lambda t: t.assign(flops=0.0), "flops: 0 is not positive"),
        (lambda t: t.assign(n_questions=np.nan), "n_questions: nan"),
        (lambda t: t.assign(exact_match=0.0), "rises nowhere"),
        (lambda t: t.head(4), "fewer than 5 models"),
    ],
)
def test_bad_tables_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        explain_jump(change(family(0)))


SHARES = st.sampled_from([0.0, 1e-12, 0.3, 0.5, 0.5 + 1e-12, 1 - 1e-12, 1.0])
MODEL = st.fixed_dictionaries({
    "flops": st.sampled_from([1e-300, 1.0, 2.0, 1e18, 1e24, 1e300]) | st.floats(1e-9, 1e30),
    "exact_match": SHARES | st.floats(0, 1),
    "n_answer": st.sampled_from([1, 10, 1000]),
    "n_questions": st.sampled_from([1, 20, 10**6]),
    "token_accuracy": SHARES | st.floats(0, 1),
    "answer_loss": st.sampled_from([1e-12, 0.1, 1000.0]) | st.floats(1e-9, 10),
})  # fmt: skip


@given(st.lists(MODEL, min_size=1, max_size=20), st.booleans())
@settings(max_examples=40)
def test_hostile_families_end_in_a_verdict_or_a_clear_refusal(models, as_loss):
    table = pd.DataFrame(models).drop(columns="token_accuracy" if as_loss else "answer_loss")
    try:
        found = explain_jump(table, n_draws=10)
    except ValueError as refusal:
        assert "no jump to explain" in str(refusal)
    else:
        assert 0 < found.p_leap <= 1 and np.isfinite(found.predicted).all() and str(found)
