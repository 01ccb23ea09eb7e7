"""A fit.json, and what else its law reads."""

import json
from pathlib import Path


def read_fit(path: Path):
    """The fit in a JSON file.

    Raises:
      ValueError: it is not there, not JSON, or not a fit.
    """
    from scaling import Fit

    if not path.is_file():
        raise ValueError(f"{path} is no file; make one with: isoflop fit TABLE --out fit.json")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}); make one with: isoflop fit TABLE --out fit.json"
        ) from error
    return Fit.from_json(content)


def has_frontier(law) -> bool:
    """Whether a budget alone decides what the law predicts."""
    return set(law.columns) == {"n_params", "n_tokens"} and law.target == "loss"


def parse_given(pairs: list[str]) -> dict[str, float]:
    """["unique_tokens=1e10"] -> {"unique_tokens": 1e10}."""
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"--given {pair}: expected COLUMN=NUMBER, for example unique_tokens=1e10")
        given[name.strip()] = number(f"--given {name}", value)
    return given


def number(flag: str, text: str) -> float:
    """Raises ValueError where it is none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{flag} {text}: expected a number such as 1e21") from None
