"""A grid on the command line, with the keys of its file: --base llama-60m --vary optimizer.lr=1e-3,2e-3."""

import json
from typing import Any

from absl import flags as absl_flags

NAME = "grid.json"  # of the file that the flags stand for


def define_flags(values: absl_flags.FlagValues) -> None:
    """The flags that say a grid."""
    several = absl_flags.DEFINE_multi_string
    absl_flags.DEFINE_string("base", None, "a grid from here: the preset of its runs", flag_values=values)
    several("vary", [], "FIELD=V1,V2,…: every combination is a run; may be repeated", flag_values=values)
    several("zip", [], "FIELD=V1,V2,…: goes together with the other --zip", flag_values=values)
    several("where", [], "a condition on fields, such as 'n_params < 1e6'", flag_values=values)


def grid_text(flags: absl_flags.FlagValues) -> str:
    """The grid file, as JSON, that these flags stand for; "" where they say none.

    Raises:
      ValueError: values without a field, or a field twice.
    """
    if not (flags.base or flags.vary or flags.zip):
        if flags.where:
            raise ValueError("--where without --base; in a file, where is one of its keys")
        return ""
    document: dict[str, Any] = {"base": {"preset": flags.base} if flags.base else {}}
    for key in ("vary", "zip"):
        document[key] = {}
        for assignment in getattr(flags, key):
            name, equals, values = assignment.partition("=")
            if not equals or not values:
                raise ValueError(
                    f"--{key} {assignment}: expected FIELD=V1,V2, such as optimizer.lr=1e-3,2e-3"
                )
            if name in document[key]:
                raise ValueError(
                    f"--{key} {assignment}: {name} is there already; give all its values at once"
                )
            document[key][name] = _values(values)
    return json.dumps(document | ({"where": flags.where} if flags.where else {}), indent=1) + "\n"


def _values(text: str) -> list[Any]:
    """ "1e-3,2e-3" or "adamw,muon" as a list; what is JSON is taken as such: "[0],[0,128]"."""
    try:
        return json.loads(f"[{text}]")
    except json.JSONDecodeError:
        return [_value(each.strip()) for each in text.split(",")]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
