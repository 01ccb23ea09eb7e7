"""The gain of one recipe over another: found where it is known, with intervals that hold it, and said."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.scaling.recipe_gain import one_pair
from launch.cli import main
from scaling.prediction.recipe_comparison import compare_recipes
from scaling.prediction.recipe_pairs import as_recipe, find_cells
from scaling.table.runs import Runs, check
from tests.scaling.planted import TRUTH, chinchilla, isoflop_points

BUDGETS = np.geomspace(1e18, 1e19, 4)


def recipe(gain=1.0, noise=0.0, seed=0, budgets=BUDGETS, sizes=3, **columns) -> Runs:
    """Runs whose loss is that of `gain` times their compute, size and tokens grown alike."""
    n, d = isoflop_points(budgets, sizes)
    loss = chinchilla(n * np.sqrt(gain), d * np.sqrt(gain), **TRUTH)
    loss *= np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return check(pd.DataFrame({"n_params": n, "n_tokens": d, "loss": loss, **columns}), {})


def test_a_gain_without_noise_is_found_by_pairs_and_law_by_law():
    paired = compare_recipes(recipe(), recipe(1.5), ("adamw", "muon"))
    apart = compare_recipes(recipe(), recipe(1.5, budgets=1.2 * BUDGETS, sizes=4))
    for found, method in ((paired, "paired"), (apart, "law by law")):
        assert found.method == method and found.largest.shown and not found.warnings
        np.testing.assert_allclose([found.overall.gain, found.largest.gain], 1.5, rtol=0.02)
        np.testing.assert_allclose(found.ahead.gain, 1.5, rtol=0.05)
        assert found.trend is not None and found.trend.factor == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(paired.pairs.gain, 1.5, rtol=0.02)
    assert paired.largest.flops == pytest.approx(1e19) and paired.ahead.flops == pytest.approx(1e20)
    assert apart.largest.flops == pytest.approx(1e19) and apart.pairs.empty
    assert paired.verdict.startswith("muon is better than adamw: at 1e+19 FLOPs adamw needs 1.")
    json.dumps([paired.to_json(), apart.to_json()])


def test_a_run_that_costs_twice_as_much_for_the_same_loss_gains_a_half():
    a = recipe()
    costly = replace(a, table=a.table.assign(flops=2 * a.table.flops))
    found = compare_recipes(a, costly)
    assert found.overall.gain == pytest.approx(0.5, rel=1e-6) and "B is worse than A" in found.verdict
    assert found.overall.flops == pytest.approx(2 * 10**18.5)
    assert compare_recipes(costly, a).overall.gain == pytest.approx(2, rel=1e-6)


def test_the_gain_is_of_the_same_curve_whichever_way_around():
    a, b = recipe(noise=0.003), recipe(1.4, noise=0.003, seed=1)
    there, back = compare_recipes(a, b).overall, compare_recipes(b, a).overall
    assert there.gain * back.gain == pytest.approx(1, abs=0.05)
    assert there.lo * back.hi == pytest.approx(1, abs=0.1)


def test_intervals_hold_the_gain_and_no_difference_is_not_shown():
    rows = pd.DataFrame(
        [
            one_pair(case, paired, k)
            for case in ("no difference", "shrinks")
            for paired in (True, False)
            for k in range(3)
        ]
    )
    assert rows[["overall", "largest", "ahead", "trend"]].to_numpy().mean() >= 0.8
    assert rows.ahead_half.max() < 0.5  # the line through the runs goes on, whichever way it was found
    same = rows[rows.case == "no difference"]
    assert not (same.crosses | same.shrinks).any() and same.shown.mean() <= 0.2
    assert rows[rows.case == "shrinks"].shrinks.mean() >= 0.6


def test_a_gain_that_crosses_one_is_warned_of():
    a, falls = recipe(), recipe()
    n, d = falls.table.n_params, falls.table.n_tokens
    grown = np.sqrt(1.4 * 0.5 ** np.log10(falls.table.flops / 1e18))
    b = replace(falls, table=falls.table.assign(loss=chinchilla(n * grown, d * grown, **TRUTH)))
    found = compare_recipes(a, b, ("old", "new"))
    (warning,) = found.warnings
    assert "crosses 1 near 3.1e+18 FLOPs: new is better below, worse above" in warning
    assert found.trend is not None and found.trend.factor == pytest.approx(0.5, abs=0.02)


def test_runs_are_paired_by_size_length_and_seed_each_recipe_at_its_best_rate():
    rows = [
        (1e6, 2e7, 0, 1e-3, 3.0),
        (1e6, 2e7, 1, 1e-3, 3.2),
        (1e6, 2e7, 0, 1e-2, 9.0),
        (2e6, 2e7, 0, 1e-3, 2.9),
    ]
    a = check(pd.DataFrame(rows, columns=["n_params", "n_tokens", "seed", "lr", "loss"]), {})
    b = check(a.table.assign(n_params=a.table.n_params * 1.002, loss=a.table.loss * [0.9, 0.8, 1, 1]), {})
    own = [as_recipe(runs) for runs in (a, b)]
    assert "mistuned" in own[0].notes[0] and len(own[0].table) == 3
    first, second = find_cells(own[0].table, own[1].table)
    assert first.differences == pytest.approx(np.log([0.9, 0.8])) and second.differences == (0.0,)
    assert first.loss_a == pytest.approx(np.sqrt(3.0 * 3.2)) and second.n_params == pytest.approx(2e6)
    other = check(b.table.assign(n_tokens=b.table.n_tokens * 1.1), {})
    assert not find_cells(own[0].table, as_recipe(other).table)


def test_points_before_the_end_of_a_curve_are_no_runs_of_their_own():
    runs = check(recipe().table.assign(run_id=["a"] * 6 + ["b"] * 6), {})
    runs = replace(runs, table=runs.table.assign(run_id=["a"] * 6 + ["b"] * 6))
    assert len(as_recipe(runs).table) == 2


def test_too_few_runs_are_refused_and_one_budget_has_no_trend():
    few = recipe(budgets=BUDGETS[:1])
    with pytest.raises(ValueError, match="A has 3 different runs to compare and its curve takes 4"):
        compare_recipes(few, few)
    with pytest.raises(ValueError, match="level=2"):
        compare_recipes(recipe(), recipe(), level=2)
    one = compare_recipes(
        recipe(budgets=BUDGETS[:1], sizes=6), recipe(1.3, 0.001, budgets=BUDGETS[:1], sizes=6)
    )
    assert one.trend is None and "too few different computes" in one.warnings[0]
    assert one.largest.lo < 1.3 < one.largest.hi


def test_from_the_command_line(tmp_path, capsys):
    a, b = recipe(noise=0.002), recipe(1.5, noise=0.002, seed=1)
    paths = [str(tmp_path / f"{name}.csv") for name in ("old", "new", "both")]
    a.table.to_csv(paths[0], index=False)
    b.table.to_csv(paths[1], index=False)
    pd.concat([a.table.assign(how="old"), b.table.assign(how="new")]).to_csv(paths[2], index=False)
    out = tmp_path / "gain.json"
    assert main(["compare", *paths[:2], "--out", f"{out},{tmp_path / 'gain.svg'}"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("new is better than old: at 1e+19 FLOPs old needs 1.")
    assert "(paired, 90% intervals)" in said and "<svg" in (tmp_path / "gain.svg").read_text()
    assert main(["compare", paths[2], "--by", "how=old,new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    none = str(tmp_path / "none.csv")
    pd.concat([pd.read_csv(paths[2]), a.table]).to_csv(none, index=False)  # some runs of no recipe
    assert main(["compare", none, "--by", "how", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    a.table.assign(how=math.nan).to_csv(none, index=False)
    for words, wrong in (
        ([none, "--by", "how"], "takes two different values or more, not none"),
        ([paths[0], "--by", "how"], "no column 'how'"),
        ([paths[2], "--by", "how=old,older"], "no run has how older; there are old, new"),
        ([*paths[:2], "--by", "how"], "expected two tables of runs or study directories, or one"),
        ([*paths[:2], "--laws", "kaplan"], "--laws compares laws"),
        ([paths[0], "--out", str(out)], "--out is for recipes"),
    ):
        assert main(["compare", *words]) == 2
        assert wrong in capsys.readouterr().err
