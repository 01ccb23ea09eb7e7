"""Runs on a corpus with components: counted exactly, resumed bit for bit, and refused when they cannot be."""

import json
import math

import numpy as np
import pytest

from experiments.data.cache import cache_root, open_cache
from experiments.data_configs import MixtureConfig
from experiments.fields import Numbers
from experiments.objective import Components
from experiments.training import metrics
from experiments.training.objectives import data_of
from experiments.training.train import Stopped, train
from launch.driver.runs_table import read_table
from launch.driver.stages import planned_run
from scaling.table.runs import check
from tests.mixed_run import SIZES, make_mixed_cache, mixed_config
from tests.tiny_run import Hooks, assert_same_run

FIXED = MixtureConfig(Numbers(code=5, prose=3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The fingerprint of the corpus, found for as long as this module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("cache")
        patch.setenv("ISOFLOP_CACHE", str(root))
        yield make_mixed_cache(root)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    """A run of 40 steps, its folder and its row."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    config = mixed_config(cache, FIXED)
    return config, out, train(config, out, Hooks())


def test_the_row_counts_what_was_read_of_each_component(trained):
    _, _, row = trained
    found = row["components"]
    # 320 rows: 200 and 120, and windows of 8 tokens: 40 · n - 1 over 8.
    windows = {name: (40 * n - 1) // 8 for name, n in SIZES.items()}
    assert [found[f"share_{name}"] for name in SIZES] == [0.625, 0.375, 0]
    assert found["epochs_code"] == 200 / windows["code"] and found["epochs_prose"] == 120 / windows["prose"]
    assert found["unique_tokens_code"] == 8 * min(200, windows["code"]) and found["unique_tokens_verse"] == 0
    assert row["unique_tokens"] == found["unique_tokens_code"] + found["unique_tokens_prose"]
    assert "equally many of each component" in row["conventions"]["loss"]


def test_the_loss_is_the_plain_mean_of_the_components_losses(trained):
    _, _, row = trained
    losses = [row["components"][f"loss_{name}"] for name in SIZES]
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert losses[2] > max(losses[:2]) + 1  # nothing of it was read
    bits = [row["components"][f"bits_per_byte_{name}"] for name in SIZES]
    assert np.allclose(bits, np.array(losses) / math.log(2) * 40 / 39)
    assert row["bits_per_byte"] == pytest.approx(np.mean(bits))


def test_the_error_of_the_loss_is_that_within_components():
    components = Components(("a", "b"), (1, 1), (1.0, 2.0), lambda n: (n, 0))
    se, found = metrics.component_losses(np.array([1.0, 10, 3, 14]), components)
    assert se == pytest.approx(math.sqrt(2 / 2 + 8 / 2) / 2)
    assert found["val_loss_a"] == 2 and found["val_bits_per_byte_b"] == pytest.approx(24 / math.log(2))


def test_stopped_and_resumed_it_is_the_same_run(trained, tmp_path):
    config, out, _ = trained
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", Hooks(13))
    train(config, tmp_path / "run", Hooks())
    assert_same_run(out, tmp_path / "run")


def test_runs_of_a_table_with_components_are_read_again(trained):
    config, _, row = trained
    results = {config.run_id: json.loads(json.dumps(row))}
    table = read_table(results, {config.run_id: "grid"}, {config.run_id: planned_run("grid", config)}).table
    names = ("share", "loss", "bits_per_byte", "epochs", "unique_tokens")
    assert {f"{name}_{component}" for name in names for component in SIZES} <= set(table.columns)
    found = check(table, {}, needed=("share_code", "share_verse", "loss_prose"))
    assert found.usable("loss_prose", ("share_code", "share_verse")).table.share_verse.tolist() == [0]


def test_a_smaller_cap_is_part_of_a_larger_and_nothing_else_is_read(cache):
    def read(cap):
        mixture = MixtureConfig(Numbers(code=1), unique_tokens=Numbers(code=cap))
        data = data_of(mixed_config(cache, mixture, batch_tokens=16))
        return {tuple(row) for step in range(60) for row in data.training(0, step, slice(None))}, data

    few, data = read(40)
    more, _ = read(90)
    assert len(few) == 4 and few < more and len(more) == 11
    assert data.components.n_windows[0] == 4


def test_by_default_there_is_as_much_of_each_as_in_the_corpus(cache):
    data = data_of(mixed_config(cache, None))
    rows = data.components.rows_until(48_000)
    assert rows.tolist() == [30_000, 12_000, 6_000]


def test_components_lie_one_after_the_other(cache):
    split = open_cache(cache_root() / "docstrings-mixed", "train")
    assert {name: part["n_documents"] for name, part in split.components.items()} == SIZES
    for name, part in split.components.items():
        letters = split.tokens[part["start"] : part["start"] + part["n_tokens"]]
        assert (letters[::40] == ord(name[0]) + 3).all() and part["n_bytes"] == 39 * part["n_documents"]


@pytest.mark.parametrize(
    "mixture, changes, message",
    [
        (MixtureConfig(Numbers(rhyme=1)), {}, "weights: no component 'rhyme'; there are code, prose, verse"),
        (
            MixtureConfig(unique_tokens=Numbers(pros=9)),
            {},
            r"unique_tokens: no component 'pros'; did you mean 'prose'\?",
        ),
        (
            MixtureConfig(unique_tokens=Numbers(verse=8)),
            {},
            "component 'verse' has 8 tokens to train on, 0 rows of seq_len=8, less than its 1 rows",
        ),
        (
            MixtureConfig(Numbers(verse=1)),
            {"batch_tokens": 512},
            "'verse' has 240 tokens to train on, 29 rows of seq_len=8, less than its 64 rows of one batch",
        ),
        (MixtureConfig(), {"n_val_tokens": 40}, "are 1 of each of 3 components"),
        (MixtureConfig(max_epochs=1), {}, "max_epochs=1: so many epochs of all components are 1,920 tokens"),
    ],
)
def test_a_mixture_that_does_not_fit_is_refused_before_the_first_step(cache, mixture, changes, message):
    with pytest.raises(ValueError, match=message):
        data_of(mixed_config(cache, mixture, **changes))
