"""`isoflop list` names everything there is, each with a line about it."""

import importlib
import json
import re

import pytest

from launch import cli
from launch.commands.studies.list import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_with_a_line_each(kind, capsys):
    assert cli.main(["list", kind, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found and all(len(summary) > 10 for summary in found.values())
    if kind in ("studies", "families"):  # first lines of docstrings: no sentence goes on in the next line
        assert all(summary.endswith((".", "?")) for summary in found.values())
    assert cli.main(["list", kind]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(found)


def test_what_there_is_can_be_found(capsys):
    for kind, name in (
        ("studies", "quickstart"),
        ("families", "transformer"),
        ("laws", "chinchilla"),
        ("tasks", "c4"),
    ):
        cli.main(["list", kind])
        assert f"{name} " in capsys.readouterr().out


def test_functions_that_are_named_are_where_they_are_said_to_be(capsys):
    cli.main(["list", "laws"])
    named = re.findall(r"scaling(?:\.\w+)+", capsys.readouterr().out)
    assert "scaling.laws.training_curve.annealing.annealing_columns" in named
    for path in named:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_an_unknown_kind_gets_the_nearest_one(capsys):
    assert cli.main(["list", "study"]) == 2
    assert "did you mean 'studies'?" in capsys.readouterr().err
