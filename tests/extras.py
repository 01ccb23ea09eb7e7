"""Other people's software that only some tests need."""

import importlib
import os
from types import ModuleType

import pytest


def extra(module: str, name: str) -> ModuleType:
    """A module that needs the extra `name` of setup.py. Without it the test is skipped, but fails where
    ISOFLOP_TEST_EXTRAS is set, as it is in `make test-all`."""
    if os.environ.get("ISOFLOP_TEST_EXTRAS"):
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"needs the extra: pip install -e '.[{name}]'")
