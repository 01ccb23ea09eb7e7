"""Loss curves: which rows belong to a run, where curves end and how they are cut."""

import numpy as np
import pandas as pd

from scaling.table import curves
from scaling.table.runs import check, read_runs
from scaling.table.table_checks import rows_and_runs


def made(n_runs=3, points=20, lr=None, names=True) -> pd.DataFrame:
    """Curves of pure power laws: loss = 10 * N^-0.1 * D^-0.05, FLOPs 7·N·D."""
    n = np.repeat(1e6 * 4.0 ** np.arange(n_runs), points)
    d = np.tile(np.geomspace(1e6, 1e9, points), n_runs)
    table = pd.DataFrame({"n_params": n, "n_tokens": d, "flops": 7 * n * d, "loss": 10 * n**-0.1 * d**-0.05})
    if names:
        table.insert(0, "run_id", np.repeat([f"run{i}" for i in range(n_runs)], points))
    if lr is not None:
        table["lr"] = np.tile(lr, n_runs)
    return table


def test_rows_of_one_run_are_said_to_be():
    assert "60 rows of 3 runs: resampled by run" in check(made(), {}).notes
    assert not rows_and_runs(curves.end_points(made()))


def test_curves_without_names_are_suspected():
    said = check(made(names=False).sample(frac=1, random_state=0), {}).notes
    assert any("points of 3 loss curves (same n_params" in note and "run_id=" in note for note in said)


def test_a_grid_of_runs_is_not_taken_for_curves():
    assert not rows_and_runs(made(n_runs=8, points=5, names=False))
    grid = made(n_runs=5, points=20, names=False)
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(len(grid)))
    assert not rows_and_runs(grid.assign(loss=grid.loss * noise))


def test_a_name_shared_by_several_sizes_names_no_run():
    shared = made().assign(run_id="sweep")
    runs = check(shared, {})
    assert "run_id" not in runs.table and any("sweep has several n_params" in note for note in runs.notes)


def test_gemstones_are_named_by_their_run_name(public_data):
    path = public_data / "runs/gemstones/wandb_df_for_fitting_hot.jsonl"
    runs = read_runs(path, {"n_params": "params_active_precise"})
    assert "220 rows of 22 runs: resampled by run" in runs.notes
    assert len(curves.end_points(runs.table)) == 22


def test_end_points_are_the_last_of_each_run_in_any_order():
    mixed = made().sample(frac=1, random_state=1)
    assert set(curves.end_points(mixed).n_tokens) == {1e9} and len(curves.end_points(mixed)) == 3


def test_curves_cut_at_budgets_lie_on_the_law_and_inside_the_curves():
    budgets = [1e14, 3e14, 1e15, 1e30]
    cut = curves.at_flops(made(), budgets)
    assert list(cut.columns) == list(made().columns) and set(cut.flops) == set(budgets[:3])
    np.testing.assert_allclose(cut.n_tokens, cut.flops / (7 * cut.n_params), rtol=1e-12)
    np.testing.assert_allclose(cut.loss, 10 * cut.n_params**-0.1 * cut.n_tokens**-0.05, rtol=1e-12)
    ends = made().groupby("run_id").flops.agg(["min", "max"])
    expected = sum(((ends["min"] <= c) & (c <= ends["max"])).sum() for c in budgets)
    assert len(cut) == expected


def test_lost_points_of_a_curve_are_bridged():
    lost = made()
    lost.loc[5:7, "loss"] = np.nan
    np.testing.assert_allclose(curves.at_flops(lost, [3e14]).loss, curves.at_flops(made(), [3e14]).loss)


def test_points_inside_a_decay():
    warm_stable_decay = [0.5, 1.0, 1.0, 1.0, 0.6, 0.3]
    inside = curves.in_decay(made(points=6, lr=warm_stable_decay).sample(frac=1, random_state=2).sort_index())
    np.testing.assert_array_equal(inside, np.tile([0, 0, 0, 0, 1, 0], 3))
    assert not curves.in_decay(made(points=6, lr=[1.0] * 6)).any()
    assert not curves.in_decay(made()).any()
