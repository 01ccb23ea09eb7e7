"""The laws: what holds for each of them (a new one in LAWS gets these tests), and how they are found."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scaling
from scaling.laws import CHINCHILLA, FORMS, LAWS, find
from scaling.laws.law import values
from scaling.laws.pretraining.chinchilla import CHINCHILLA_DECOUPLED
from scaling.table.runs import check
from tests.scaling.planted_laws import PLANTED
from tests.tiers import slow_but

FORM_LIST = list(FORMS.values())


@pytest.mark.parametrize("law", FORM_LIST, ids=lambda law: law.name)
def test_a_law_is_the_same_in_any_units(law):
    rng = np.random.default_rng(0)
    table = PLANTED[law.name.removesuffix("-decoupled").removesuffix("-low-floor")][1]
    units = {name: 1.0 if name in law.dimensionless else 10 ** rng.uniform(-3, 8) for name in law.columns}
    units |= {name: units[other] for name, other in law.same_unit}
    units[law.target] = 2.7 if law.scale == "log" else 1.0
    theta = np.array(law.starts) * np.exp(0.1 * rng.standard_normal(np.shape(law.starts)))
    scaled = {name: table[name].to_numpy() / units[name] for name in law.columns}
    natural = values(law, law.unscale(theta, units), {name: table[name].to_numpy() for name in law.columns})
    assert np.isfinite(natural).any()
    np.testing.assert_allclose(natural, units[law.target] * values(law, theta, scaled), rtol=1e-7)


@pytest.mark.parametrize("law", FORM_LIST, ids=lambda law: law.name)
def test_starts_and_priors_lie_inside_the_bounds(law):
    low, high = np.array(law.bounds).T
    assert np.all((np.array(law.starts) > low) & (np.array(law.starts) < high))
    mean, sd = np.array(law.prior).T
    known = np.isfinite(sd)
    assert np.all((mean[known] >= low[known]) & (mean[known] <= high[known]))
    assert law.source and law.formula


NOISE = 3e-4
QUICK = ("chinchilla", "kaplan", "data_constrained", "annealing")  # of each kind; all others in the slow tier


@pytest.mark.parametrize("name", slow_but(QUICK, LAWS))
def test_a_law_recovers_planted_parameters_and_survives_json(name):
    law = LAWS[name]
    truth, table = PLANTED[law.name]
    target = values(law, np.array([truth]), {name: table[name].to_numpy() for name in law.columns})[0]
    noise = NOISE * np.random.default_rng(1).standard_normal(len(target))
    target = target * np.exp(noise) if law.scale == "log" else target + noise
    runs = check(table.assign(**{law.target: target}), {}, needed=(*law.columns, law.target))
    fit = scaling.fit(runs, law=law.name, n_bootstrap=0)
    assert fit.status == "converged"
    assert list(fit.params.values()) == pytest.approx(list(truth), rel=0.15)
    assert fit.forecast.noise == pytest.approx(NOISE, rel=0.5)
    x = {name: table[name] for name in law.columns}
    assert fit.predict(**x).loss == pytest.approx(target, rel=5 * NOISE, abs=5 * NOISE)
    again = scaling.Fit.from_json(json.loads(json.dumps(fit.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.predict(**x).loss, fit.predict(**x).loss)
    assert again.predicted_by == fit.predicted_by


@pytest.mark.parametrize("law", [law for law in FORM_LIST if law.best_size], ids=lambda law: law.name)
def test_a_closed_form_of_the_best_size_is_the_lowest_loss(law):
    theta = np.array(law.starts)
    flops = np.tile(np.geomspace(0.1, 1e3, 4), (len(theta), 1))
    best = law.best_size(theta, flops)
    for each, budgets, sizes in zip(theta, flops, best):
        for budget, size in zip(budgets, sizes):
            n = size * np.exp(np.linspace(-0.5, 0.5, 101))
            loss = values(law, each[None], {law.size: n, "n_tokens": budget / 6 / n})[0]
            assert abs(int(loss.argmin()) - 50) <= 1
    if law.size_exponent:
        grown = np.log(best[:, 1] / best[:, 0]) / np.log(flops[:, 1] / flops[:, 0])
        np.testing.assert_allclose(law.size_exponent(theta), grown, rtol=1e-9)


def test_the_former_name_of_the_decoupled_form_is_known():
    assert find("chinchilla-loose") is CHINCHILLA_DECOUPLED


@pytest.mark.parametrize(
    "name, columns, target",
    [
        ("broken", ("flops",), "loss"),
        ("broken:n_params", ("n_params",), "loss"),
        ("u_shaped:n_params,accuracy", ("n_params",), "accuracy"),
        ("mixture:web,code", ("share_web", "share_code"), "loss"),
    ],
)
def test_a_law_of_chosen_columns_is_found_again_by_its_own_name(name, columns, target):
    law = find(name)
    assert (law.columns, law.target) == (columns, target)
    assert find(law.name) is law  # as a fit.json names it, and compiled once


@pytest.mark.parametrize(
    "name, words",
    [
        ("chinchila", "did you mean 'chinchilla'"),
        ("nothing alike", "there are chinchilla"),
        ("mixture", "name two or more domains"),
        ("mixture:web,web", "name two or more domains"),
        ("broken:a,b,c", "expected broken:COLUMN"),
    ],
)
def test_a_wrong_name_says_what_there_is(name, words):
    with pytest.raises(ValueError, match=words):
        find(name)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"starts": ()}, "one or more starts"),
        ({"columns": "n_params"}, "columns='n_params'; it must be a tuple"),
        ({"params": ["E", "A"]}, "it must be a tuple"),
        ({"bounds": ((0.0, 1.0),)}, "one entry for each of E, A, B, alpha, beta"),
        ({"starts": ((2.0, 1.0, 1.0, 1.0, 1.0),)}, "E=2.0; it must lie between 0.0 and 1.0"),
        ({"scale": "square"}, "'log' and 'linear'"),
        ({"dimensionless": ("bits",)}, "no column bits"),
        ({"same_unit": (("unique_tokens", "n_tokens"),)}, "no column unique_tokens"),
    ],
)
def test_a_law_whose_fields_do_not_fit_together_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(CHINCHILLA, **change)


positive = st.floats(0.05, 1.5)


@settings(deadline=None, max_examples=30)
@given(positive, positive, st.floats(0.1, 3.0), st.floats(0.0, 0.9))
def test_the_decoupled_law_with_its_exponents_coupled_is_chinchillas(alpha, beta, ratio, floor):
    A, B = ratio, 1.0
    total = alpha + beta
    # On the frontier (u = 0) the terms are K q / (p + q) and K p / (p + q).
    g = np.log(alpha * A / (beta * B)) / total
    K = A * np.exp(-alpha * g) * total / beta
    coupled = np.array([[floor, K, alpha * beta / total, alpha, beta, g, beta / total]])
    x = {"n_params": np.geomspace(0.1, 10, 6), "n_tokens": np.geomspace(3, 0.2, 6)}
    want = values(CHINCHILLA, np.array([[floor, A, B, alpha, beta]]), x)
    np.testing.assert_allclose(values(CHINCHILLA_DECOUPLED, coupled, x), want, rtol=1e-9)


def test_the_decoupled_law_is_lowest_on_its_frontier_at_equal_compute():
    theta = np.array([[0.4, 0.6, 0.16, 0.3, 0.6, 0.2, 0.45]])
    log_c = 1.7
    log_n = 0.2 + 0.45 * log_c + np.linspace(-1, 1, 101)
    losses = values(
        CHINCHILLA_DECOUPLED, theta, {"n_params": np.exp(log_n), "n_tokens": np.exp(log_c - log_n)}
    )[0]
    assert losses.argmin() == 50


def test_rows_of_which_no_logarithm_can_be_taken_are_left_out_and_said():
    truth, table = PLANTED["annealing"]
    loss = values(LAWS["annealing"], np.array([truth]), {name: table[name].to_numpy() for name in table})[0]
    table = table.assign(loss=loss, lr_sum=table["lr_sum"].where(np.arange(len(table)) > 0, 0.0))
    fit = scaling.fit(check(table, {}, needed=("lr_sum", "annealed", "loss")), law="annealing", n_bootstrap=0)
    assert any("lr_sum is not positive" in note for note in fit.notes)
    assert list(fit.params.values()) == pytest.approx(list(truth), rel=0.01)
