"""Forecasts by several forms: weighed by what they predict of runs held out, and as unsure as they differ."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scaling
from scaling import laws
from scaling.fitting.forms import FIRST, log_density
from scaling.fitting.reach import distance, floorless
from scaling.simulate.forms import Skaling
from tests.scaling.planted import isoflop_runs

SIZES, TOKENS = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(2e8, 2e10, 6)))
AHEAD = {"n_params": np.array([3e8, 1e10, 1e9]), "n_tokens": np.array([5e9, 2e11, 4e12])}


def fitted(seed, n_bootstrap):
    truth = Skaling(1.7, 250 ** (1 / 0.35), 610 ** (1 / 0.35), 0.3 / 0.35, 0.3 / 0.35, 0.35)
    noise = np.exp(0.002 * np.random.default_rng(seed).standard_normal(len(SIZES)))
    table = {"n_params": SIZES, "n_tokens": TOKENS, "loss": truth.loss(SIZES, TOKENS) * noise}
    return scaling.fit(pd.DataFrame(table), n_bootstrap=n_bootstrap)


@pytest.fixture(scope="module")
def fit():
    return fitted(0, n_bootstrap=20)


def test_the_form_that_is_true_weighs_more_than_one_that_is_not(fit):
    ratios = []
    for forms in (fit.forms, *(fitted(seed, n_bootstrap=0).forms for seed in (1, 2))):
        weight = {known.law: share for known, share in zip(forms.forecasts, forms.weights)}
        assert sum(weight.values()) == pytest.approx(1)
        ratios.append(weight["skaling-low-floor"] / weight["interacting-low-floor"])
    assert min(ratios) > 1 and stats.gmean(ratios) > 3


def test_a_prediction_has_the_mean_and_the_variance_of_the_mixture(fit):
    means, variances = np.array(
        [known.moments(laws.find(known.law), AHEAD) for known in fit.forms.forecasts]
    ).transpose(1, 0, 2)
    shares = fit.forms.weights[:, None] / variances
    shares /= shares.sum(axis=0)
    mean = (shares * means).sum(axis=0)
    second = (shares * (variances + means**2)).sum(axis=0)
    variance, width = second - mean**2, stats.t.ppf(0.95, len(SIZES) - 7)
    places = (np.log10(np.stack(list(columns), 1)) for columns in (AHEAD.values(), (SIZES, TOKENS)))
    less = np.maximum(means[0] - means[1:], 0).mean(axis=0)
    below = floorless(distance(*places), less) ** 2
    found, unit = fit.predict(**AHEAD), fit.forecast.units["loss"]
    np.testing.assert_allclose(found.loss, unit * np.exp(mean))
    np.testing.assert_allclose(found.lo, unit * np.exp(mean - width * np.sqrt(variance + below)))
    np.testing.assert_allclose(found.hi, unit * np.exp(mean + width * np.sqrt(variance)))


def test_a_saved_fit_predicts_the_same_and_one_saved_before_there_were_forms_opens(fit):
    saved = json.loads(json.dumps(fit.to_json()))
    again = scaling.Fit.from_json(saved)
    np.testing.assert_array_equal(again.predict(**AHEAD), fit.predict(**AHEAD))
    assert again.predicted_by == fit.predicted_by and "skaling" in fit.predicted_by
    before = scaling.Fit.from_json({key: value for key, value in saved.items() if key != "forms"})
    assert before.forms is None and before.predicted_by.startswith("its relaxed form")
    assert before.predict(1e10, 2e11).loss == pytest.approx(fit.predict(1e10, 2e11).loss, rel=0.05)


def test_runs_too_few_to_hold_any_out_leave_the_forms_their_first_weights():
    few = scaling.fit(isoflop_runs((1e18, 2e18), noise=0.002, sizes=4), n_bootstrap=0)
    np.testing.assert_allclose(few.forms.weights, np.array([FIRST, 1, 1]) / (FIRST + 2))


def test_the_law_itself_is_less_sure_the_further_from_its_runs_and_its_relaxed_form_is_not():
    runs = isoflop_runs(noise=0.002)
    fits = [scaling.fit(runs, relax=relax, n_bootstrap=20) for relax in (False, True)]
    for fit, widens in zip(fits, (True, False)):
        law, first = laws.find(fit.forecast.law), fit.forecast
        x = {name: first.units[name] * np.append(first.x[name][0], 1e3) for name in law.columns}
        here, far = first.beyond(law, x)[0]
        assert here == 0 and (far > 0) == widens


def test_the_law_itself_leads_where_it_is_not_relaxed_and_laws_with_none_beside_them_are_alone():
    runs = isoflop_runs(noise=0.002)
    led = scaling.fit(runs, relax=False, n_bootstrap=0).forms
    assert [known.law for known in led.forecasts] == [
        "chinchilla",
        *(form.name for form in laws.CHINCHILLA.beside),
    ]
    assert scaling.fit(runs, "kaplan", n_bootstrap=0).forms is None


def test_densities_are_students():
    error = np.array([-0.02, 0.0, 0.05])
    expected = stats.t.logpdf(error / 0.01, 8) - np.log(0.01)
    np.testing.assert_allclose(log_density(error, np.array(0.01), 8), expected)
