"""A run that starts from a checkpoint: with all of it, a part, or adapters; what is frozen keeps its bits."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import models
from experiments.config import OptimizerConfig, RunConfig
from experiments.objective_configs import ExamplesConfig, InitConfig, LoRAConfig, SFTConfig
from experiments.training import metrics
from experiments.training.checkpoints.checkpoint import Checkpoints
from experiments.training.checkpoints.load import fingerprint, load, start
from experiments.training.train import Stopped, train, training_functions
from models import hf
from models.partial_training import leaves
from tests.tiny_run import Hooks, assert_same_run, make_training_cache
from tests.tiny_run import training_config as config

LORA = LoRAConfig(rank=2, alpha=4.0, targets=("blocks/attention/w_*",))
PARTS = {
    "all": InitConfig("base"),
    "head and some": InitConfig("base", train=("ends/*", "blocks/mlp/w_down")),
    "last layer": InitConfig("base", train=("ends/*", "blocks/*"), last_layers=1),
    "adapters": InitConfig("base", lora=LORA),
    "adapters and norms": InitConfig("base", train=("*norm/*",), lora=LORA),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs of a study, of which "base" is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs")
        train(config(), folder / "base", Hooks())
        yield folder


def continued(init: InitConfig, **changes) -> RunConfig:
    return dataclasses.replace(config(**changes), init=init)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_frozen_keeps_its_bits_and_has_no_optimizer_state(part, runs):
    init, out = PARTS[part], runs / part.replace(" ", "_")
    row = train(continued(init, n_tokens=64 * 4), out, Hooks())
    assert row["post_training"] == {"init": "base"} and row["status"] == "done"
    (_, before), (_, after) = load(runs / "base"), load(out)
    before, after = leaves(before), leaves(after)
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    blocks, ends = ({path for path in before if path[0] == name} for name in ("blocks", "ends"))
    attention = {path for path in blocks if path[1] == "attention"}
    norms = {path for path in before if any("norm" in name for name in path)}
    expected = {
        "all": ends | blocks,
        "head and some": ends | {("blocks", "mlp", "w_down")},
        "last layer": ends | blocks,
        "adapters": attention,
        "adapters and norms": attention | norms,
    }
    assert moved == expected[part]
    if part == "last layer":
        assert all(np.array_equal(before[path][:-1], after[path][:-1]) for path in blocks)
    if part == "adapters":
        n_state = sum(path.stat().st_size for path in (out / "checkpoints").rglob("*") if path.is_file())
        n_base = sum(path.stat().st_size for path in (runs / "base/checkpoints").rglob("*") if path.is_file())
        assert n_state < 0.7 * n_base


def test_it_starts_where_the_checkpoint_ended(runs, tmp_path):
    begun = start(continued(InitConfig(str(runs / "base"))), tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, begun.trees["network"], load(runs / "base")[1])


def test_stopped_anywhere_it_continues_without_its_source_bit_for_bit(runs, tmp_path):
    shutil.copytree(runs / "base", tmp_path / "base")
    run = continued(PARTS["adapters and norms"], n_tokens=64 * 8)
    train(run, tmp_path / "whole", Hooks())
    with pytest.raises(Stopped):
        train(run, tmp_path / "stopped", Hooks(3))
    shutil.rmtree(tmp_path / "base")
    train(run, tmp_path / "stopped", Hooks())
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "whole")[1], load(tmp_path / "stopped")[1])


@pytest.mark.parametrize("optimizer", ["keep", "reset"])
def test_continued_pretraining_keeps_or_resets_the_optimizers_state(optimizer, runs, tmp_path):
    run = continued(InitConfig(str(runs / "base"), optimizer=optimizer), n_tokens=64 * 8)
    train(run, tmp_path / "whole", Hooks())
    first, *_ = metrics.read(tmp_path / "whole/metrics.jsonl")
    assert first["step"] == 1 and first["lr"] == pytest.approx(run.optimizer.lr)  # warmed up within a step
    begun = start(run, tmp_path / "whole")
    checkpoints = Checkpoints(runs / "base/checkpoints")
    like = training_functions(run.model, run.optimizer.name, run.schedule.name).init(jax.random.key(0), None)
    kept = checkpoints.restore(params=like[0], opt_state=like[1])
    checkpoints.close()
    assert kept
    if optimizer == "reset":
        assert begun.opt_state is None
    else:
        jax.tree.map(np.testing.assert_array_equal, begun.opt_state, kept["opt_state"])
        (count,) = [x for x in jax.tree.leaves(begun.opt_state) if x.ndim == 0]
        assert count == 40
    with pytest.raises(Stopped):
        train(run, tmp_path / "stopped", Hooks(3))
    train(run, tmp_path / "stopped", Hooks())
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    # A step further from the same parameters: only the state differs.
    other = dataclasses.replace(run, init=dataclasses.replace(run.init, optimizer="reset"))
    if optimizer == "keep":
        train(other, tmp_path / "other", Hooks())
        lines = [metrics.read(tmp_path / name / "metrics.jsonl") for name in ("whole", "other")]
        one, two = ([line["train_loss"] for line in each if "train_loss" in line] for each in lines)
        assert one[0] == two[0] and one[1] != two[1]


def test_a_state_that_cannot_be_kept_is_refused(runs, tmp_path):
    keep = InitConfig(str(runs / "base"), optimizer="keep")
    with pytest.raises(ValueError, match="base is no run of pretraining by lion; start from one, or"):
        start(continued(keep, optimizer=OptimizerConfig(0.01, name="lion")), tmp_path / "lion")
    with pytest.raises(ValueError, match="init: optimizer='keep' with train or lora"):
        InitConfig("base", lora=LORA, optimizer="keep")
    sft = {"examples": ExamplesConfig("gold"), "objective": SFTConfig()}
    with pytest.raises(ValueError, match=r"run: init\.optimizer='keep' with objective 'sft'"):
        dataclasses.replace(config(), init=keep, **sft)


def test_a_hugging_face_folder_is_a_start(runs, tmp_path):
    run, params = load(runs / "base")
    hf.save(run.model, params, tmp_path / "hf")
    model, exported = hf.load(tmp_path / "hf")
    init = InitConfig(str(tmp_path / "hf"))
    begun = start(continued(init, model=model), tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, begun.trees["network"], exported)
    # Its weights are scaled to what that format can say: with our model they would be another network.
    with pytest.raises(ValueError, match=r"embedding_scale=1\.0 there and"):
        start(continued(init), tmp_path / "other")


def test_a_damaged_copy_is_made_again(runs, tmp_path, capsys):
    run = continued(InitConfig(str(runs / "base")))
    start(run, tmp_path / "run")
    for path in (tmp_path / "run/start").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    begun = start(run, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, begun.trees["network"], load(runs / "base")[1])
    assert "cannot be read" in capsys.readouterr().err


def test_another_checkpoint_than_planned_another_network_and_none_are_refused(runs, tmp_path):
    known = fingerprint(load(runs / "base")[1])
    start(continued(InitConfig(str(runs / "base"), known)), tmp_path / "right")
    with pytest.raises(ValueError, match=r"have changed since this was planned \(0123456789ab… then"):
        start(continued(InitConfig(str(runs / "base"), "0123456789abcdef")), tmp_path / "changed")
    wider = models.ladder(24, 259)
    with pytest.raises(ValueError, match="is another network: d_model=16 there and 24 in this"):
        start(continued(InitConfig(str(runs / "base")), model=wider), tmp_path / "wider")
    with pytest.raises(ValueError, match="source 'nowhere' is no checkpoint"):
        start(continued(InitConfig("nowhere")), tmp_path / "none")
    with pytest.raises(ValueError, match="no path matches 'blocks/atention/"):
        wrong = InitConfig(str(runs / "base"), train=("blocks/atention/*",))
        train(continued(wrong), tmp_path / "wrong", Hooks())


def test_a_run_without_checkpoints_is_no_run_to_load(tmp_path, runs):
    with pytest.raises(ValueError, match=r"is not a run: it has no config\.json"):
        load(tmp_path)
    shutil.copy(runs / "base/config.json", tmp_path)
    with pytest.raises(ValueError, match="has no checkpoints; train it first"):
        load(tmp_path)
    Checkpoints(tmp_path / "checkpoints").close()
    with pytest.raises(ValueError, match="has no checkpoint that can be read"):
        load(tmp_path)
    assert json.loads(Path(tmp_path / "config.json").read_text())
