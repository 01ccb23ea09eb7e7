"""Columns of a table of runs, a fit.json and what else its law reads, and where output goes."""

from pathlib import Path
from typing import Any

from absl import flags

from experiments.fields import number_of
from experiments.files import read_json


def parse_columns(pairs: list[str], flag: str = "columns") -> dict[str, str]:
    """["n_params=N"] -> {"n_params": "N"}."""
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ValueError(f"--{flag} {pair}: expected NAME=VALUE, for example n_params=N")
        columns[ours.strip()] = theirs.strip()
    return columns


def define_law(values: flags.FlagValues) -> None:
    """The flag of commands that read a fit.json: no data file says what code is run."""
    text = "a law of your own, path.py:name, that the fit.json is of: its file is run"
    flags.DEFINE_string("law", None, text, flag_values=values)


def run_law(name: str | None) -> None:
    """Runs the file of --law, if it is given; raises ValueError if there is no such law."""
    if name:
        from scaling import laws

        laws.find(name)


def read_fit(path: Path):
    """The fit in a JSON file, or the one of a study's folder.

    Raises:
      ValueError: it is not there, not JSON, or not a fit.
    """
    from experiments.study_report import saved_fit

    path = path / "fit.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path} is no file; make one with: isoflop fit TABLE --out fit.json")
    return saved_fit(path)


def form_of_study(path: str, law: str | None = None) -> dict[str, Any]:
    """How a study fitted the law of its fit.json, as arguments of `scaling.fit`: made anew it is the same.

    Args:
      path: of a study's folder; there is nothing to say of a table, or of a study without a fit of this law.
      law: that is to be fitted; None: whichever it is.
    """
    saved = Path(path) / "fit.json"
    if not saved.is_file():
        return {}
    fit = read_json(saved)
    if fit["law"] != (law or fit["law"]):
        return {}
    return {
        "relax": fit["forecast"]["law"] != fit["law"],
        "level": fit["ci"]["level"],
        "n_bootstrap": len(fit["samples"]),
    }


def has_frontier(law) -> bool:
    """Whether a budget alone decides what the law predicts."""
    return set(law.columns) == {"n_params", "n_tokens"} and law.target == "loss"


def parse_given(
    pairs: list[str], flag: str = "given", example: str = "unique_tokens=1e10"
) -> dict[str, float]:
    """["unique_tokens=1e10"] -> {"unique_tokens": 1e10}."""
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"--{flag} {pair}: expected COLUMN=NUMBER, for example {example}")
        given[name.strip()] = number(f"--{flag} {name}", value)
    return given


def number(flag: str, text: str) -> float:
    """Raises ValueError where it is none."""
    try:
        return number_of(text)
    except ValueError:
        raise ValueError(f"{flag} {text}: expected a number such as 1e21 or 7B") from None


def check_out(out: str | None) -> None:
    """Refuses, before any work, a file that could not be written."""
    if out and (Path(out).is_dir() or not Path(out).absolute().parent.is_dir()):
        raise ValueError(f"--out {out}: expected a file name in a folder that exists")
