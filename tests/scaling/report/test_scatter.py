"""A figure of any columns: axes by what they hold, what is left out, colours."""

import numpy as np
import pandas as pd
import pytest

from scaling.report.scatter import scatter

TABLE = pd.DataFrame({
    "flops": [1e18, 1e19, 1e20, 1e21], "loss": [4.0, 3.0, np.inf, 2.0], "a.b": ["2", "30", "100", "7"],
    "kind": ["x", "y", "x", None],
})  # fmt: skip


def encoding(*columns: str) -> dict:
    return scatter(TABLE, *columns).spec["layer"][0]["encoding"]


def test_numbers_that_span_a_decade_have_a_logarithmic_axis_and_texts_categories():
    assert encoding("flops", "loss")["x"]["scale"]["type"] == "log"
    assert encoding("flops", "loss")["y"]["scale"]["type"] == "linear"
    assert encoding("a.b", "loss")["x"]["scale"]["type"] == "log"  # numbers as text
    assert encoding("kind", "loss")["x"]["sort"] == ["x", "y"]
    assert (
        scatter(TABLE.assign(loss=[-1.0, 2, 30, 4]), "flops", "loss").spec["layer"][0]["encoding"]["y"][
            "scale"
        ]["type"]
        == "linear"
    )


def test_rows_without_a_value_are_left_out_and_counted():
    figure = scatter(TABLE, "flops", "loss", "kind")
    assert figure.caption == "3 points; 1 of 4 without a finite value are left out."
    assert figure.spec["datasets"]["runs"] == [
        {"flops": 1e18, "loss": 4.0, "kind": "x"},
        {"flops": 1e19, "loss": 3.0, "kind": "y"},
        {"flops": 1e21, "loss": 2.0, "kind": ""},
    ]
    with pytest.raises(ValueError, match="none of 1 rows has both flops and loss"):
        scatter(TABLE.iloc[2:3], "flops", "loss")


def test_many_numbers_are_coloured_in_steps():
    table = pd.DataFrame(
        {"flops": np.geomspace(1e18, 1e21, 40), "loss": 2.0, "n": np.geomspace(1e6, 9e8, 40)}
    )
    figure = scatter(table, "flops", "loss", "n")
    steps = [row["step"] for row in figure.spec["datasets"]["runs"]]
    domain = figure.spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert list(dict.fromkeys(steps)) == domain and 3 <= len(domain) <= 7
    assert steps[0] == "from 1M" and steps[-1] == "from 300M"
