"""A user's own law in a file: fitted and asked from the command line, or refused in one line."""

import json

import numpy as np
import pandas as pd
import pytest

from launch import cli
from scaling.laws import find

TRUTH = {"A": 5.0, "alpha": 0.2}
OWN = '''
"""Accuracy lost to chance, by number of examples shown."""
import jax.numpy as jnp
import numpy as np
from scaling.laws import FREE, Law

def value(theta, x):
    A, alpha = theta
    return A * jnp.exp(-alpha * jnp.log(x["n_shots"]))

def unscale(theta, units):
    A, alpha = np.moveaxis(theta, -1, 0)
    return np.stack([units["error"] * A * units["n_shots"] ** alpha, alpha], axis=-1)

shots = Law(
    name="shots", params=("A", "alpha"), columns=("n_shots",), value=value, unscale=unscale,
    bounds=((0.0, 50.0), (0.0, 4.0)), starts=((1.0, 0.3),), prior=(FREE, FREE),
    formula="A / n_shots^alpha", source="mine", target="error",
)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    n_shots = 2.0 ** np.arange(10)
    error = (
        TRUTH["A"] * n_shots ** -TRUTH["alpha"] * np.exp(0.003 * np.random.default_rng(0).standard_normal(10))
    )
    pd.DataFrame({"shots": n_shots, "error": error}).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_fitted_and_asked(folder, capsys):
    columns = ["--columns", "n_shots=shots"]
    fitted = ["fit", "runs.csv", "--law", "mine.py:shots", "--bootstrap", "50", "--out", "fit.json", *columns]
    assert cli.main(fitted) == 0
    assert "mine.py:shots: error = A / n_shots^alpha" in capsys.readouterr().out
    assert json.loads((folder / "fit.json").read_text())["params"] == pytest.approx(TRUTH, rel=0.02)
    (folder / "points.csv").write_text("shots\n4096\n")
    assert cli.main(["predict", "fit.json", "--points", "points.csv", "--out", "q.csv", *columns]) == 0
    (row,) = pd.read_csv("q.csv").to_dict("records")
    assert row["error_lo"] < row["error_pred"] < row["error_hi"]
    assert row["error_pred"] == pytest.approx(5.0 * 4096**-0.2, rel=0.02)


@pytest.mark.parametrize("place", ["law", "forecast"])
def test_a_saved_fit_runs_no_file_unless_a_flag_names_it(folder, capsys, monkeypatch, place):
    """In the law's name, and in that of the form that predicts."""
    columns = ["--columns", "n_shots=shots,error=error"]
    assert cli.main(["fit", "runs.csv", "--law", "mine.py:shots", "--out", "fit.json", *columns]) == 0
    saved = json.loads((folder / "fit.json").read_text())
    (folder / "other.py").write_text(OWN + "\nopen('it_ran', 'w')\n")
    (saved if place == "law" else saved["forecast"])["law"] = "other.py:shots"
    (folder / "fit.json").write_text(json.dumps(saved))
    (folder / "points.csv").write_text("n_shots\n4096\n")
    capsys.readouterr()
    monkeypatch.setattr("scaling.laws.user_law.RUN", {"mine.py:shots": find("mine.py:shots")})
    predict = ["predict", "fit.json", "--points", "points.csv"]
    assert cli.main(predict) == 2
    assert "only you can have it run: give --law other.py:shots" in capsys.readouterr().err
    assert not (folder / "it_ran").exists()
    assert cli.main([*predict, "--law", "other.py:shots"]) == 0 and (folder / "it_ran").exists()


def test_a_changed_file_is_another_law_and_an_unchanged_one_the_same(folder):
    law = find("mine.py:shots")
    assert find("mine.py:shots") is law
    (folder / "mine.py").write_text(OWN.replace("50.0", "60.00"))
    assert find("mine.py:shots").bounds[0] == (0.0, 60.0)


def test_its_relaxed_form_is_found_by_name(folder):
    with (folder / "mine.py").open("a") as file:
        file.write("\nimport dataclasses\ntight = dataclasses.replace(shots, relaxed=shots)\n")
    relaxed = find("mine.py:tight").relaxed
    assert relaxed is not None and relaxed.name == "mine.py:shots"
    assert find(relaxed.name).params == relaxed.params


@pytest.mark.parametrize(
    "change, words",
    [
        (("def value", "def value("), "SyntaxError"),
        (("jnp.exp", "jnp.expp"), "it fails: AttributeError"),
        (("import FREE, Law", "import FREE, Low"), "ImportError"),
        (('units["error"] * A', "A"), "unscale is wrong"),
        (("A * jnp.exp", "A * jnp.sum"), "value has shape () for 5 rows"),
        (("return A * jnp.exp", "return -A * jnp.exp"), "not finite or not positive at its first start"),
        (("((1.0, 0.3),)", "((1.0,),)"), "one entry for each of A, alpha"),
        (("shots = Law(", "other = Law("), "it has other"),
    ],
    ids=lambda change: change if isinstance(change, str) else change[1],
)
def test_a_wrong_law_is_refused_in_one_line(folder, capsys, change, words):
    (folder / "mine.py").write_text(OWN.replace(*change))
    assert cli.main(["fit", "runs.csv", "--law", "mine.py:shots", "--columns", "n_shots=shots"]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize(
    "name, words",
    [
        ("none.py:shots", "no file none.py"),
        ("mine.py:", "it has shots"),
        ("runs.csv:shots", "not a Python file"),
        (".:shots", "no file ."),
    ],
)
def test_a_wrong_place_is_refused_in_one_line(folder, capsys, name, words):
    assert cli.main(["fit", "runs.csv", "--law", name]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
