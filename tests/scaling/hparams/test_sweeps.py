"""Which rows of a table are sweeps."""

import numpy as np
import pandas as pd
import pytest

from scaling.hparams.sweeps import find_sweeps, swept
from scaling.table.runs import NOT_FINISHED, check


def runs(lr, batch=None, n_params=1e6, n_tokens=2e7, **columns):
    table = pd.DataFrame({"lr": lr, "n_params": n_params, "n_tokens": n_tokens, "loss": 3.0} | columns)
    return check(table if batch is None else table.assign(batch_tokens=batch), {})


def test_diverged_unfinished_and_settingless_rows_are_left_out_and_counted():
    table = runs([1e-3, 2e-3, 4e-3, "high", -1.0, 8e-3], loss=[3.0, 2.9, 3.0, 3.1, 3.2, np.inf])
    kept = swept(table)
    assert kept.table["lr"].tolist() == [1e-3, 2e-3, 4e-3]
    assert "left out 1 of 6 rows: diverged or not finished" in kept.notes
    assert "left out 2 of 5 rows: without a positive lr" in kept.notes
    assert len(swept(runs([1e-3, 2e-3], status=["done", "diverged"])).table) == 1


def test_a_setting_out_of_all_proportion_is_named_and_left_out():
    kept = swept(runs([1e-3, 2e-3, 1e308, 4e-3], [1e4, 1e30, 2e4, 4e4]))
    assert kept.table["lr"].tolist() == [1e-3, 4e-3]
    assert any("lr=1e+308" in note and "out of all proportion" in note for note in kept.notes)
    assert any("batch_tokens=1e+30" in note for note in kept.notes)


@pytest.mark.parametrize("status", [*NOT_FINISHED, "Crashed", "KILLED"])
def test_a_run_that_a_fit_leaves_out_is_no_setting_either(status):
    table = runs([1e-3, 2e-3, 4e-3], status=["done", status, "done"])
    assert swept(table).table["lr"].tolist() == table.usable().table["lr"].tolist() == [1e-3, 4e-3]


def test_post_trained_runs_are_no_settings_of_a_law_of_text():
    given = {"loss": [3.0, 2.9, 3.0, 0.4, -1.2], "objective": [None, None, None, "sft", "ppo"]}
    assert swept(runs([1e-3, 2e-3, 4e-3, 8e-3, 9e-3], **given)).table["loss"].tolist() == [3.0, 2.9, 3.0]


def test_an_axis_is_swept_where_one_cell_has_three_values_of_it():
    both = runs([1e-3, 2e-3, 4e-3, 1e-3, 1e-3], [1e4, 1e4, 1e4, 2e4, 4e4])
    assert find_sweeps(swept(both).table)[0] == ("lr", "batch_tokens")
    axes, groups = find_sweeps(swept(runs([1e-3, 2e-3, 4e-3], [1e4, 1e4, 1e4])).table)
    assert axes == ("lr",) and len(groups) == 1
    assert find_sweeps(swept(runs([1e-3] * 3, [1e4, 2e4, 4e4])).table)[0] == ("batch_tokens",)


def test_what_is_given_but_not_swept_tells_cells_apart():
    axes, groups = find_sweeps(swept(runs([1e-3, 2e-3, 4e-3] * 2, [1e4] * 3 + [2e4] * 3)).table)
    assert axes == ("lr",) and [len(group) for group in groups] == [3, 3]


def test_sizes_that_nearly_agree_are_one_cell():
    _, groups = find_sweeps(swept(runs([1e-3, 2e-3, 4e-3], n_tokens=[2e7, 2.001e7, 2.002e7])).table)
    assert len(groups) == 1


def test_tables_without_sweeps_are_refused():
    with pytest.raises(ValueError, match="no column lr or batch_tokens"):
        swept(check(runs([1e-3, 2e-3]).table.drop(columns="lr"), {}))
    with pytest.raises(ValueError, match="3 finished values of lr or batch_tokens"):
        find_sweeps(swept(runs([1e-3, 2e-3], [1e4, 2e4])).table)
