"""From where on forms part, in words, and the run that would tell them apart."""

from dataclasses import replace

import numpy as np
import pytest

import scaling
from scaling.prediction.disagreement import in_words, less, parting
from tests.scaling.planted import isoflop_runs


@pytest.fixture(scope="module")
def fit():
    return scaling.fit(isoflop_runs((1e18, 2e18, 4e18), noise=0.004), n_bootstrap=20)


def test_forms_agree_among_the_runs_and_part_beyond_them(fit):
    known = fit.forecast
    seen = {name: known.units[name] * column for name, column in known.x.items()}
    far = {"n_params": np.array([1e12]), "n_tokens": np.array([1e14])}
    assert less(fit, seen).max() < 0.005 < 0.02 < less(fit, far)[0]
    assert set(in_words(fit, seen)) == {""}
    assert in_words(fit, far) == [f"forms of low floor expect {less(fit, far)[0]:.1%} less here"]


def test_it_is_said_from_where_on_they_part(fit):
    said = parting(fit)
    assert "times the largest run's compute on forms of low floor expect 2% less or more" in said


def test_without_forms_there_is_nothing_to_say(fit):
    alone = replace(fit, forms=None)
    assert parting(alone) == "" and in_words(alone, {"n_params": np.ones(2), "n_tokens": np.ones(2)}) == [
        "",
        "",
    ]
