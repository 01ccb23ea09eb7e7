"""One small table of runs and one fit to it, shared by the tests of plans."""

import pytest

import scaling
from tests.scaling.planted import isoflop_runs


@pytest.fixture(scope="session")
def runs():
    return isoflop_runs((1e17, 3e17), noise=0.004, sizes=4)


@pytest.fixture(scope="session")
def fit(runs):
    return scaling.fit(runs, n_bootstrap=400)
