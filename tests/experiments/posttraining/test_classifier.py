"""Classifiers: the loss by hand, gradients by differences, what stays frozen, and what a head learns."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from experiments.config import DataConfig, OptimizerConfig, Recipe, RunConfig, ScheduleConfig
from experiments.objective_configs import ClassifierConfig, ExamplesConfig, InitConfig, QueriesConfig
from experiments.posttraining.classifier import headed, objective
from experiments.posttraining.data.classes import data, open_classes
from experiments.training.checkpoints.load import load, load_whole
from experiments.training.train import train
from models import EncDecConfig, TransformerConfig
from models.partial_training import leaves
from tests.tiny_run import Hooks, make_training_cache, training_config

LABELS = ("none", ">", "<", ">=", "<=", "=")
DECODER = TransformerConfig(259, d_model=8, n_layers=1, n_heads=2, n_kv_heads=1, d_head=4, d_ff=16)
ENCDEC = EncDecConfig(259, d_model=8, n_layers=1, n_decoder_layers=1, n_heads=2, d_head=4, d_ff=16)
BATCH = {
    "tokens": np.array([[1, 70, 80, 0], [1, 90, 0, 0], [1, 70, 80, 90]], np.int32),
    "lengths": np.array([3, 2, 4], np.int32),
    "labels": np.array([2, 0, 5], np.int32),
}


def test_the_loss_is_the_cross_entropy_of_the_head_on_pooled_states():
    """By numpy from the network's hidden states, for both ways of pooling."""
    model, rng = models.build(DECODER), np.random.default_rng(0)
    body = jax.jit(model.init)(jax.random.key(0))
    head = {"w": rng.normal(size=(8, 6)).astype(np.float32), "b": rng.normal(size=6).astype(np.float32)}
    x_BTD = np.asarray(model.hidden(body, BATCH["tokens"])[0])
    pooled = {
        "last": np.stack([x_BTD[b, n - 1] for b, n in enumerate(BATCH["lengths"])]),
        "mean": np.stack([x_BTD[b, :n].mean(axis=0) for b, n in enumerate(BATCH["lengths"])]),
    }
    for pool, pooled_BD in pooled.items():
        logits_BC = pooled_BD @ head["w"] + head["b"]
        logps_BC = logits_BC - np.log(np.exp(logits_BC).sum(axis=1, keepdims=True))
        recipe = Recipe(ClassifierConfig(LABELS, pool=pool))
        loss, (weight, measured) = objective(model, recipe).loss({"body": body, "head": head}, BATCH, {})
        np.testing.assert_allclose(loss, -logps_BC[range(3), BATCH["labels"]].mean(), rtol=1e-5)
        assert weight == 3
        right = (logits_BC.argmax(axis=1) == BATCH["labels"]).mean()
        assert measured["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize(
    "config", [DECODER, pytest.param(ENCDEC, marks=pytest.mark.slow)], ids=["decoder", "encoder"]
)
def test_gradients_reach_head_and_body_and_equal_differences(config):
    """Along a direction by chance; and what lies behind a text's end changes nothing."""
    model = models.build(config)
    learnt = objective(model, Recipe(ClassifierConfig(LABELS)))
    params = jax.jit(learnt.init)(jax.random.key(0))
    params["head"]["w"] = jax.random.normal(jax.random.key(1), params["head"]["w"].shape)
    loss = jax.jit(lambda params: learnt.loss(params, BATCH, {})[0])
    gradient = jax.jit(jax.grad(lambda params: learnt.loss(params, BATCH, {})[0]))(params)
    assert all(bool(jnp.any(x != 0)) for x in (gradient["head"]["w"], gradient["head"]["b"]))
    assert any(bool(jnp.any(x != 0)) for x in jax.tree.leaves(gradient["body"]))
    size = jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(gradient)))
    step = jax.tree.map(lambda x: 1e-2 * x / size, gradient)
    ahead, behind = (loss(jax.tree.map(by, params, step)) for by in (jnp.add, jnp.subtract))
    assert (ahead - behind) / 2e-2 == pytest.approx(float(size), rel=2e-2)
    padded = BATCH | {"tokens": np.where(BATCH["tokens"] == 0, 99, BATCH["tokens"])}
    np.testing.assert_allclose(learnt.loss(params, padded, {})[0], loss(params), rtol=1e-5)


def test_what_cannot_be_is_refused():
    for labels in ((), ("a",), ("a", "a")):
        with pytest.raises(ValueError, match="labels="):
            ClassifierConfig(labels)
    with pytest.raises(ValueError, match="pool='mean' with an encoder"):
        headed(models.build(ENCDEC), ClassifierConfig(LABELS, pool="mean"))


def config(init: InitConfig, examples=None, n_steps=6, **changes) -> RunConfig:
    given = {"seq_len": 96, "batch_tokens": 8 * 96, "n_tokens": 8 * 96 * n_steps, "n_val_tokens": 64 * 96}
    return training_config(
        **given,
        init=init,
        examples=examples or ExamplesConfig("queries", queries=QueriesConfig(64)),
        objective=ClassifierConfig(LABELS),
        **changes,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of the runs of a study, of which "base" is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs")
        train(training_config(n_tokens=64 * 4), folder / "base", Hooks())
        yield folder


def test_a_head_alone_learns_and_leaves_the_network_as_it_was_to_the_bit(runs):
    row = train(config(InitConfig("base", train=("head/*",))), runs / "head", Hooks())
    assert row["post_training"]["objective"] == "classifier" and 0 <= row["post_training"]["accuracy"] <= 1
    whole, base = load_whole(runs / "head")[2], load(runs / "base")[1]
    jax.tree.map(np.testing.assert_array_equal, whole["body"], base)
    assert np.any(whole["head"]["w"] != 0)


@pytest.mark.slow
def test_with_the_last_layers_only_these_change(runs):
    init = InitConfig("base", train=("body/blocks/*",), last_layers=1)
    train(config(init), runs / "last", Hooks())
    whole, base = leaves(load_whole(runs / "last")[2]["body"]), leaves(load(runs / "base")[1])
    for path, before in base.items():
        after, n_kept = whole[path], len(before) - 1 if path[0] == "blocks" else len(before)
        np.testing.assert_array_equal(after[:n_kept], before[:n_kept])
        assert path[0] != "blocks" or np.any(after[n_kept:] != before[n_kept:])


def test_texts_of_a_file_carry_their_labels_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "classes.jsonl"
    lines = [{"text": f"text {i}" + "!" * i, "label": "odd" if i % 2 else "even"} for i in range(120)]
    file.write_text("\n".join(map(json.dumps, lines)))
    run = RunConfig(
        *(DECODER, DataConfig(), OptimizerConfig(0.01), ScheduleConfig()),
        **{"batch_tokens": 32, "seq_len": 16, "n_tokens": 64},
        examples=ExamplesConfig("classes", str(file)),
        objective=ClassifierConfig(("odd", "even")),
    )
    for labels in (("odd", "even"), ("even", "odd")):
        found = data(run.__class__(**(vars(run) | {"objective": ClassifierConfig(labels)})))
        batch = found.training(0, 0, slice(None))
        full_B = open_classes(run)["train"].columns["tokens"].lengths
        assert found.manifest["splits"]["train"]["n_truncated"] == (full_B > 16).sum() > 0
        for tokens_T, n, label in zip(batch["tokens"], batch["lengths"], batch["labels"]):
            text = bytes(int(i) - 3 for i in tokens_T[1:n]).decode()
            number = int(text.split()[1].rstrip("!"))
            assert labels[label] == ("odd" if number % 2 else "even")
    with pytest.raises(ValueError, match=r"label 'even'; objective\.labels has odd, none"):
        data(run.__class__(**(vars(run) | {"objective": ClassifierConfig(("odd", "none"))})))
    file.write_text('{"text": "a"}\n')
    with pytest.raises(ValueError, match=r"classes\.jsonl:1: 'label' is None"):
        data(run)
