"""Remarks on a table as a whole: made where something is odd, and only there."""

import numpy as np
import pandas as pd
import pytest

from scaling.table.runs import NEEDED, check
from scaling.table.table_checks import remarks
from tests.scaling.planted import isoflop_runs

SOUND = isoflop_runs(noise=0.003).table


def said(**columns) -> str:
    return "; ".join(remarks(SOUND.assign(**columns), NEEDED))


def test_a_sound_table_has_none():
    assert said() == ""


def test_nor_has_a_public_one(public_data):
    table = check(pd.read_csv(public_data / "runs/epoch_chinchilla/kyo_takano_df.csv"), {}).table
    assert not remarks(table, NEEDED)


def test_a_sweep_of_learning_rates_is_remarked(public_data):
    said = check(pd.read_csv(public_data / "runs/steplaw/dense_lr_bs_loss.csv"), {}).notes
    assert any("17 pairs of n_params and n_tokens" in note and "best of each" in note for note in said)


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"n_params": SOUND.n_params / 1e6}, "n_params is"),
        ({"n_params": SOUND.n_params / 1e9}, "in millions or billions?"),
        ({"n_tokens": SOUND.n_tokens / 1e9}, "n_tokens is"),
        ({"n_params": SOUND.n_params.where(SOUND.index != 3, 1e13)}, "n_params=1e+13 stands alone"),
        ({"loss": SOUND.loss.where(SOUND.index != 3, 99.0)}, "loss=99 stands alone"),
        ({"flops": SOUND.flops / 8.64e19}, "another unit"),
        ({"n_tokens": 20 * SOUND.n_params, "flops": 120 * SOUND.n_params**2}, "is 20 in every row"),
        ({"loss": 3.0}, "every loss is 3"),
        ({"loss": np.exp(SOUND.loss)}, "perplexity"),
        ({"loss": SOUND.loss / 4}, "per byte"),
        ({"loss": 1 / SOUND.loss}, "grows with compute"),
    ],
)
def test_what_is_odd_is_said(columns, words):
    assert words in said(**columns)
