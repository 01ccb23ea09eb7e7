"""Two tiers of tests: a contract that many things share is tested on a few of them by default, on all of them
in the slow tier."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(quick: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Parameters, of which those not in `quick` are tested in the slow tier."""
    return [each if each in quick else pytest.param(each, marks=pytest.mark.slow) for each in values]
