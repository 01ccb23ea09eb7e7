"""Every law finds its parameters again in a table that it made, with a little noise."""

import numpy as np
import pytest

import scaling
from scaling.laws import LAWS
from scaling.laws.evaluation import values
from scaling.table.runs import check
from tests.scaling.planted_laws import PLANTED

NOISE = 3e-4


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.name)
def test_a_law_recovers_planted_parameters(law):
    truth, table = PLANTED[law.name]
    target = values(law, np.array([truth]), {name: table[name].to_numpy() for name in law.columns})[0]
    noise = NOISE * np.random.default_rng(1).standard_normal(len(target))
    target = target * np.exp(noise) if law.scale == "log" else target + noise
    runs = check(table.assign(**{law.target: target}), {}, needed=(*law.columns, law.target))
    fit = scaling.fit(runs, law=law.name, n_bootstrap=0)
    assert fit.status == "converged"
    assert list(fit.params.values()) == pytest.approx(list(truth), rel=0.15)
    assert fit.forecast.noise == pytest.approx(NOISE, rel=0.5)
    told = fit.predict(**{name: table[name] for name in law.columns}).loss
    assert told == pytest.approx(target, rel=5 * NOISE, abs=5 * NOISE)
