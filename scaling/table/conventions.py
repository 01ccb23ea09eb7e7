"""Conventions: which parameters N counts, in which unit the loss is, how FLOPs were counted; and conversions.

Laws fitted under different conventions have different parameters and even different exponents (Porian et al.
2024, arXiv 2406.19146; Pearce and Song 2024, arXiv 2406.12907), so every number that is compared is converted
first. Nothing is converted that the user has not stated: a table cannot say what its N counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import log
from typing import Any

import numpy as np
import pandas as pd

from scaling.table.number_text import read_numbers
from scaling.table.runs import Runs

# What n_params may count. The matrix of vocab_size * d_model numbers is counted never, once or twice.
COUNTS = {
    "non_embedding": "parameters without embedding and output head (Kaplan et al., arXiv 2001.08361)",
    "multiplied": "parameters that are multiplied: output head included, embedding lookup excluded",
    "total": "all parameters: embedding and output head, which are one if tied",
    "effective": "FLOPs a token / 6, causal attention included: multiplied + seq_len * d_model * n_layers",
}
UNITS = {
    "nats_per_token": "nats per token",
    "bits_per_token": "bits per token",
    "nats_per_byte": "nats per byte",
    "bits_per_byte": "bits per byte",
}
SYNONYMS = {"d_model": "width", "n_layers": "depth"}


@dataclass(frozen=True, eq=False)
class Architecture:
    """What is known of transformers: a number for all of them, or an array of one for each; None if unknown.

    Attributes:
      d_model: width; n_layers: depth; vocab_size: rows of the embedding, padding included.
      seq_len: tokens of a training sequence; tied: whether the output head is the embedding.
    """

    d_model: Any = None
    n_layers: Any = None
    vocab_size: Any = None
    seq_len: Any = None
    tied: Any = None

    @staticmethod
    def of(table: pd.DataFrame, **known: Any) -> "Architecture":
        """From the columns of a table that have these names (or width and depth), and from `known`."""
        names = [field.name for field in fields(Architecture)]
        columns = {ours: ours if ours in table else SYNONYMS.get(ours) for ours in names}
        found = {ours: table[name].to_numpy(float) for ours, name in columns.items() if name in table}
        return Architecture(**(found | known))


def recounted(n_params: Any, of: str, to: str, architecture: Architecture) -> np.ndarray:
    """Parameters counted `of` one way, counted `to` another way; see COUNTS.

    Norms and positions stay counted as they were.

    Args:
      n_params: a number or an array of them; of, to: keys of COUNTS.
      architecture: what is known of the models; what is needed depends on `of` and `to`.

    Raises:
      ValueError: something needed is not known, or nothing is left of a model.
    """
    counted = np.asarray(n_params, float) + _beyond_body(to, architecture) - _beyond_body(of, architecture)
    if not np.all(counted > 0):
        raise ValueError(
            f"n_params={np.min(n_params):.6g} cannot be {of}: {counted.min():.6g} would be {to}; "
            "check what is counted, vocab_size and d_model"
        )
    return counted


def _beyond_body(counts: str, architecture: Architecture) -> Any:
    """What is counted besides the parameters without embedding and head."""
    if counts == "non_embedding":
        return 0.0
    d_model = _known(architecture, "d_model")
    matrix = _known(architecture, "vocab_size") * d_model
    if counts == "total":
        return matrix * np.where(_known(architecture, "tied"), 1, 2)
    if counts == "effective":
        return matrix + _known(architecture, "seq_len") * d_model * _known(architecture, "n_layers")
    return matrix


def _known(architecture: Architecture, name: str) -> Any:
    value = getattr(architecture, name)
    if value is None:
        raise ValueError(f"converting n_params needs {name}; give the column or the value")
    return value


def converted_loss(loss: Any, of: str, to: str, tokens_per_byte: Any = None) -> np.ndarray:
    """Loss in another unit, see UNITS; between tokens and bytes, the text's `tokens_per_byte` is needed.

    Args:
      loss: a number or an array; of, to: keys of UNITS.

    Raises:
      ValueError: tokens_per_byte is needed, and missing or not positive.
    """
    of_byte, to_byte = of.endswith("byte"), to.endswith("byte")
    factor = (log(2) if of.startswith("bits") else 1.0) / (log(2) if to.startswith("bits") else 1.0)
    if of_byte != to_byte:
        if tokens_per_byte is None or not np.all(np.asarray(tokens_per_byte) > 0):
            raise ValueError(f"from {of} to {to}: tokens_per_byte must be known and positive")
        factor = factor * np.asarray(tokens_per_byte, float) ** (1 if to_byte else -1)
    return np.asarray(loss, float) * factor


def applied(runs: Runs, said: Mapping[str, Any]) -> Runs:
    """The runs with what is `said` of them stated or, where it says "of:to", converted.

    Args:
      said: n_params: one of COUNTS, or two of them as "of:to"; loss: the same with UNITS; and, as far as the
        table has no column for it, fields of `Architecture` and tokens_per_byte. FLOPs that stood in as 6·N·D
        follow n_params.

    Raises:
      ValueError: a name or a convention is unknown, or a conversion needs what is not known.
    """
    known = {name: _value(name, value) for name, value in said.items() if name not in ("n_params", "loss")}
    tokens_per_byte = known.pop("tokens_per_byte", runs.table.get("tokens_per_byte"))
    table, conventions = runs.table.copy(), dict(runs.conventions)
    if "n_params" in said:
        of, to = _of_and_to("n_params", said["n_params"], COUNTS)
        if of != to:
            table["n_params"] = recounted(table["n_params"], of, to, Architecture.of(table, **known))
        if str(conventions.get("flops")).startswith("6 * n_params"):
            table["flops"] = 6.0 * table["n_params"] * table["n_tokens"]
        conventions["n_params"] = COUNTS[to] + (f"; converted from {of}" if of != to else "")
    if "loss" in said:
        of, to = _of_and_to("loss", said["loss"], UNITS)
        table["loss"] = converted_loss(table["loss"], of, to, tokens_per_byte)
        conventions["loss"] = UNITS[to] + (f"; converted from {UNITS[of]}" if of != to else "")
    return replace(runs, table=table, conventions=conventions)


def _of_and_to(name: str, said: str, allowed: Mapping[str, str]) -> tuple[str, str]:
    of, _, to = said.partition(":")
    for convention in (of, to or of):
        if convention not in allowed:
            raise ValueError(f"{name}={said}: unknown {convention!r}; allowed are {', '.join(allowed)}")
    return of, to or of


def _value(name: str, said: Any) -> float:
    allowed = [*(field.name for field in fields(Architecture)), "tokens_per_byte"]
    if name not in allowed:
        raise ValueError(f"unknown {name!r}; allowed are n_params, loss, {', '.join(allowed)}")
    value = float(read_numbers([said])[0][0])
    if value != value:
        raise ValueError(f"{name}={said}: expected a number")
    if value < 0 or (value == 0 and name != "tied"):
        raise ValueError(f"{name}={said}: it must be positive")
    return value
