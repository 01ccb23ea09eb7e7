"""IsoFLOP profiles: budgets, minima, edges and the power laws through them."""

import json

import numpy as np
import pandas as pd
import pytest

from scaling.profiles.isoflop import Profiles, budgets, profiles
from scaling.table.runs import check
from tests.scaling.planted import TRUTH, best_size, isoflop_runs

BUDGETS = np.array([1e18, 3e18, 1e19, 3e19])


def test_minima_and_exponents_of_a_known_law():
    found = profiles(isoflop_runs(BUDGETS, sizes=7).usable())
    best = best_size(BUDGETS, **TRUTH)
    np.testing.assert_allclose([m.n_params for m in found.minima], best, rtol=0.06)
    assert found.n_params.exponent == pytest.approx(
        TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"]), abs=0.02
    )
    assert found.n_params.exponent + found.n_tokens.exponent == pytest.approx(1, abs=1e-6)
    assert not any(m.at_edge for m in found.minima)


def test_intervals_hold_the_truth_under_noise():
    best, held = best_size(BUDGETS, **TRUTH), []
    for seed in range(60):
        found = profiles(isoflop_runs(BUDGETS, noise=0.01, seed=seed, sizes=7).usable(), n_bootstrap=300)
        held += [m.n_params_lo <= n <= m.n_params_hi for m, n in zip(found.minima, best)]
    assert 0.8 < np.mean(held) <= 0.97


def test_flops_that_differ_a_little_are_one_budget():
    runs = isoflop_runs(BUDGETS)
    table = runs.table.assign(flops=lambda t: t.flops * np.exp(0.01 * np.sin(np.arange(len(t)))))
    assert [len(group) for group in budgets(table)] == [6, 6, 6, 6]
    scattered = table.assign(flops=np.geomspace(1e18, 3e19, len(table)))
    assert budgets(scattered) == []


def test_a_minimum_at_the_edge_is_flagged_and_kept_out_of_the_power_law():
    table = isoflop_runs(BUDGETS, sizes=7).table
    largest = table.flops > 2e19
    smaller_only = table[~largest | (table.n_params < best_size(2e19, **TRUTH))]
    found = profiles(check(smaller_only, {}).usable())
    assert [m.at_edge for m in found.minima] == [False, False, False, True]
    whole = profiles(check(table[~largest], {}).usable())
    assert found.n_params.exponent == pytest.approx(whole.n_params.exponent, abs=0.01)


def test_profiles_without_any_bottom_survive_json_too():
    table = isoflop_runs(BUDGETS).table
    ridges = profiles(check(table.assign(loss=4 - 0.5 * table.loss), {}).usable())
    assert all(m.at_edge for m in ridges.minima) and ridges.n_params is None
    again = Profiles.from_json(json.loads(json.dumps(ridges.to_json(), allow_nan=False)))
    assert again.to_json() == ridges.to_json()


def test_without_budgets_there_are_no_profiles():
    table = pd.DataFrame({"n_params": np.geomspace(1e6, 1e9, 20), "n_tokens": 1e9, "loss": 3.0})
    with pytest.raises(ValueError, match="no budget has 3 sizes among 20 runs"):
        profiles(check(table, {}).usable())


def test_profiles_survive_json():
    found = profiles(isoflop_runs(BUDGETS, noise=0.01).usable())
    text = json.dumps(found.to_json())
    assert Profiles.from_json(json.loads(text)) == found
    assert {"minima", "a", "b", "ci"} <= found.to_json().keys()


def test_porians_exponents_are_found_again(public_data):
    """15 published exponents: ours lie in 14 of the published intervals, and near the other."""
    table = pd.read_csv(public_data / "runs/porian/isoflop_points.csv")
    table = table.rename(columns={"n": "n_params", "t": "n_tokens"})
    published = pd.read_csv(public_data / "runs/porian/published_fits.csv")
    keys, inside = ["file", "dataset", "hparams", "warmup", "decay", "param_count", "val"], []
    for _, want in published.iterrows():
        found = profiles(check(table[(table[keys] == want[keys]).all(axis=1)], {}).usable()).n_params
        assert found.exponent == pytest.approx(want.n_exponent, abs=0.05)
        inside.append(want.n_exponent_ci_lo <= found.exponent <= want.n_exponent_ci_hi)
    assert len(inside) == 15 and sum(inside) >= 14


def test_porians_optimal_pairs_give_the_published_exponents(public_data):
    """Our power law through the published optima is the published power law."""
    from scaling.profiles.isoflop import _power_law

    pairs = pd.read_csv(public_data / "runs/porian/optimal_pairs.csv").dropna(subset=["n"])
    published = pd.read_csv(public_data / "runs/porian/published_fits.csv")
    rng = np.random.default_rng(0)
    for keys, group in pairs.groupby(["file", "step"]):
        want = published[(published.file == keys[0]) & (published.step == keys[1])].n_exponent.item()
        noise = rng.standard_normal((len(group), 4000)) * group.n_star_std.to_numpy()[:, None]
        center = np.log(group.n.to_numpy())
        found = _power_law(np.log(group.flops.to_numpy()), center, list(center[:, None] + noise), 0.9)
        assert found.exponent == pytest.approx(want, abs=0.005)
