"""Which law: the true one wins where the runs can tell, and where they cannot, that is said."""

import json

import numpy as np
import pandas as pd
import pytest

from launch.cli import main
from scaling.prediction.law_comparison import compare_laws, default_laws
from scaling.table.runs import check
from tests.scaling.planted import TRUTH, chinchilla, isoflop_runs

WIDE = tuple(np.geomspace(1e17, 1e21, 8))


def kaplan_runs(noise=0.003, seed=0):
    """Kaplan et al. 2020 (2001.08361), eq. 1.5: no irreducible loss, and N and D that hold each other up."""
    table = isoflop_runs(WIDE, sizes=6).table
    n, d = table.n_params, table.n_tokens
    loss = ((8.8e13 / n) ** (0.076 / 0.103) + 5.4e13 / d) ** 0.103
    noisy = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(table)))
    return check(pd.DataFrame({"n_params": n, "n_tokens": d, "loss": noisy}), {})


def test_the_law_that_made_the_runs_predicts_the_larger_ones_best():
    found = compare_laws(kaplan_runs(), ["chinchilla", "kaplan"])
    assert found.candidates[0].law == "kaplan" and found.candidates[0].median_abs_error < 0.01
    other = compare_laws(isoflop_runs(WIDE, noise=0.003), ["chinchilla", "kaplan"])
    assert other.candidates[0].law == "chinchilla" and other.decided and other.next_run is None
    assert other.candidates[0].weight > 0.95 and "predicts larger runs best" in other.verdict
    for comparison in (found, other):
        assert sum(candidate.weight for candidate in comparison.candidates) == pytest.approx(1)


def test_intervals_of_held_out_runs_hold_them():
    best = compare_laws(isoflop_runs(WIDE, noise=0.005), ["chinchilla", "kaplan"]).candidates[0]
    assert 0.8 <= best.coverage <= 1 and best.half_width < 0.05


def test_laws_that_say_the_same_are_not_distinguished_and_the_run_that_would_is_named():
    runs = isoflop_runs((1e18, 2e18, 4e18, 8e18), noise=0.01)
    found = compare_laws(runs, ["chinchilla", "over_training"])
    assert not found.decided and "cannot tell" in found.verdict
    if found.next_run:
        one, other = (found.next_run[candidate.law] for candidate in found.candidates)
        assert abs(one / other - 1) > 0.005 and found.next_run["flops"] <= 100 * 8e18 * 1.001


def test_held_out_rows_were_not_fitted():
    held_out = compare_laws(isoflop_runs(WIDE, noise=0.003), ["chinchilla", "kaplan"]).held_out
    assert (held_out.flops >= 1.5 * held_out.cut).all() and held_out.cut.nunique() > 1
    np.testing.assert_allclose(held_out.error, held_out.predicted / held_out.loss - 1)


def test_only_laws_that_the_table_feeds_take_part():
    table = isoflop_runs().table
    assert {"chinchilla", "kaplan", "over_training", "skaling", "interacting"} == set(default_laws(table))
    once = table.assign(unique_tokens=table.n_tokens)
    assert "data_constrained" not in default_laws(once), "nothing was repeated"
    assert "data_constrained" in default_laws(table.assign(unique_tokens=np.minimum(table.n_tokens, 1e9)))


def test_too_few_runs_and_lone_laws_are_refused():
    with pytest.raises(ValueError, match="two laws or more"):
        compare_laws(isoflop_runs(), ["chinchilla"])
    few = check(isoflop_runs().table.head(9), {})
    with pytest.raises(ValueError, match="no such cut"):
        compare_laws(few, ["chinchilla", "kaplan"])
    with pytest.raises(ValueError, match="level=1"):
        compare_laws(isoflop_runs(), ["chinchilla", "kaplan"], level=1)
    with pytest.raises(ValueError, match="unknown law 'chinchila'"):
        compare_laws(isoflop_runs(), ["chinchila", "kaplan"])


def test_from_the_command_line(tmp_path, capsys):
    n, d = isoflop_runs(WIDE).table[["n_params", "n_tokens"]].to_numpy().T
    loss = chinchilla(n, d, **TRUTH) * np.exp(0.003 * np.random.default_rng(0).standard_normal(len(n)))
    pd.DataFrame({"N": n, "D": d, "L": loss}).to_csv(tmp_path / "runs.csv", index=False)
    words = ["compare", str(tmp_path / "runs.csv"), "--columns", "n_params=N,n_tokens=D,loss=L"]
    assert main([*words, "--laws", "chinchilla,kaplan"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("chinchilla")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"][0]["coverage"] > 0.5
    assert main(["compare"]) == 2
