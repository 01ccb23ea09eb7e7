"""Remarks on a table as a whole: made where something is odd, and only there."""

import numpy as np
import pandas as pd
import pytest

from scaling.table.runs import NEEDED, check
from scaling.table.table_checks import remarks, unmodelled
from tests.scaling.planted import isoflop_runs

SOUND = isoflop_runs(noise=0.003).table
LAW = (("n_params", "n_tokens"), "loss")


def said(**columns) -> str:
    return "; ".join(remarks(SOUND.assign(**columns), NEEDED))


def test_a_sound_table_has_none():
    assert said() == ""


def test_one_learning_rate_is_right_with_mup_and_a_single_budget_is_no_line():
    assert said(lr=0.01, parametrization="mup") == ""
    one = SOUND[SOUND.n_params * SOUND.n_tokens < 1.01 * (SOUND.n_params * SOUND.n_tokens).min()]
    assert remarks(one, NEEDED) == []


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
        ({"n_tokens": 900 * SOUND.n_params**0.8}, "n_tokens follow n_params along one line"),
        ({"lr": 0.01}, "lr is 0.01 at every size"),
        ({"loss": 3.0}, "every loss is 3"),
        ({"loss": np.exp(SOUND.loss)}, "perplexity"),
        ({"loss": SOUND.loss / 4}, "per byte"),
        ({"loss": 1 / SOUND.loss}, "grows with compute"),
    ],
)
def test_what_is_odd_is_said(columns, words):
    assert words in said(**columns)


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"weight_decay": [0.0, 0.1]}, "rows differ in weight_decay (0.0, 0.1), which the law does not read"),
        ({"optimizer": ["adamw", "muon"]}, "rows differ in optimizer (adamw, muon), which"),
        (
            {"optimizer": ["adamw", "muon"], "lr": [1e-3, 2e-3]},
            "optimizer (adamw, muon) and in lr (0.001, 0.002)",
        ),
        ({"seed": [0, 1], "device": ["a", "b"], "constant": [3, 3], "nothing": [np.nan, np.nan]}, ""),
    ],
)
def test_settings_in_which_rows_differ_that_a_law_takes_for_alike_are_said(columns, words):
    twice = pd.concat(
        [SOUND.assign(**{k: v[i] for k, v in columns.items()}) for i in (0, 1)], ignore_index=True
    )
    twice["wall_seconds"] = np.arange(len(twice)) * 1.5
    said = unmodelled(twice, *LAW)
    assert len(said) == bool(words) and words in "".join(said)


def test_what_follows_the_size_or_is_read_by_the_law_is_no_setting():
    size = SOUND.n_params
    follows = SOUND.assign(d_model=size.rank(), lr=size**-0.5, model=size.map(str))
    assert unmodelled(follows, *LAW) == []
    repeated = pd.concat([SOUND.assign(unique_tokens=tokens) for tokens in (1e8, 1e9)])
    assert unmodelled(repeated, *LAW) and not unmodelled(repeated, (*LAW[0], "unique_tokens"), "loss")
    assert not unmodelled(repeated.rename(columns={"unique_tokens": "accuracy"}), LAW[0], "accuracy")
