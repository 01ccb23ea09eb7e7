"""Shared fixtures: where public tables and corpora are read from, and strict broadcasting."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Folder of public run tables and corpora (ISOFLOP_PUBLIC_DATA); tests that need it skip without it."""
    default = Path(__file__).parents[1] / "../shared/data"
    folder = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}; set ISOFLOP_PUBLIC_DATA")
    return folder.resolve()
