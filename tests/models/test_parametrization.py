"""muP: multipliers by hand, the same network as standard at the base size, and activations that change alike
at every width and depth."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import models
from experiments.config import OptimizerConfig
from experiments.studies.lr_transfer import coordinate_check
from experiments.training import optim
from experiments.training.loss import training_loss
from models import MuP, TransformerConfig, ladder
from models.parametrization import (
    attention_scale,
    branch_scale,
    branch_std,
    head_std,
    logit_scale,
    multipliers,
)

BASE = MuP(base_d_model=16, base_n_layers=2, base_d_head=8)
VOCAB = 67


def leaves(tree) -> dict:
    """Leaves by path, like "blocks/mlp/w_up"."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in found}


def table(config, muon: bool = False) -> dict[str, tuple[float, float, float]]:
    """(lr, eps, weight decay) by path."""
    found = multipliers(config, models.build(config).axes, muon)
    lr, eps, decay = (leaves(tree) for tree in (found.lr, found.eps, found.weight_decay))
    return {path: (lr[path], eps[path], decay[path]) for path in lr}


DENSE = TransformerConfig(  # 4 times as wide, twice as many heads of twice the size, 3 times as deep
    vocab_size=VOCAB, d_model=64, n_layers=6, n_heads=4, n_kv_heads=2, d_head=16, d_ff=96, mup=BASE,
    positions="learned", max_len=8, norm="layer", qk_norm="head", qkv_bias=True, mlp_bias=True,
)  # fmt: skip


def test_multipliers_of_a_dense_transformer():
    hidden, vector = (1 / 4, 1 / 12, 4), (1, 1 / 12, 1)
    expected = {
        "ends/embedding": (1, 1 / 4, 1),
        "ends/position": (1, 1 / 4, 1),
        "ends/head": (1, 1 / 4, 1),
        "ends/final_norm/scale": (1, 1 / 4, 1),
        "ends/final_norm/bias": (1, 1 / 4, 1),
        "blocks/attention/b_q": vector,
        "blocks/attention/b_k": vector,
        "blocks/attention/b_v": vector,
        # One number for all heads: their gradients, twice as many, add up.
        "blocks/attention/q_norm/scale": (1, 1 / 6, 1),
        "blocks/attention/k_norm/scale": (1, 1 / 6, 1),
        "blocks/attention_norm/scale": vector,
        "blocks/attention_norm/bias": vector,
        "blocks/mlp_norm/scale": vector,
        "blocks/mlp_norm/bias": vector,
        "blocks/mlp/b_up": vector,
        "blocks/mlp/b_down": vector,
        "blocks/mlp/b_gate": vector,
    }
    expected |= {f"blocks/attention/w_{x}": hidden for x in "qkvo"}
    expected |= {f"blocks/mlp/w_{x}": hidden for x in ("gate", "up", "down")}
    assert table(DENSE) == {path: pytest.approx(numbers) for path, numbers in expected.items()}


def test_scales_of_a_dense_transformer():
    assert attention_scale(DENSE) == pytest.approx(8**0.5 / 16)  # 1/√8 at the base
    assert branch_scale(DENSE) == pytest.approx(1 / 3)
    assert branch_std(DENSE, fan_in=96) == pytest.approx((96 * 2 * 2) ** -0.5)
    assert head_std(DENSE) == pytest.approx(1 / 4) and logit_scale(DENSE) == pytest.approx(1 / 4)


def test_muon_has_one_rate_for_hidden_matrices_and_adamws_for_the_rest():
    adamw, muon = table(DENSE), table(DENSE, muon=True)
    hidden = {path for path in adamw if path.startswith("blocks") and path.split("/")[-1].startswith("w_")}
    for path, (lr, _, decay) in muon.items():
        assert (lr, decay) == ((1, 1) if path in hidden else (adamw[path][0], adamw[path][2])), path


def test_experts_are_hidden_matrices_and_the_router_is_a_head():
    config = ladder(64, VOCAB, "moe", n_layers=4, mup=BASE)
    found = table(config)
    assert found["blocks/mlp/router"] == pytest.approx((1, 1 / 8, 1))
    for name in ("w_gate", "w_up", "w_down"):
        assert found[f"blocks/mlp/{name}"] == pytest.approx((1 / 4, 1 / 8, 4))


@pytest.mark.parametrize("family", ["rwkv4", "rwkv7"])
def test_multipliers_of_rwkv(family):
    """Low-rank maps of RWKV-7: in as a head with its multiplier folded in, out as a lookup."""
    found = table(ladder(64, VOCAB, family, n_layers=4, mup=dataclasses.replace(BASE, base_d_head=32)))
    seen = set()
    for path, a in leaves(models.build(ladder(64, VOCAB, family)).axes).items():
        if not a.inputs:
            expected = (1, None, 1)
        elif a.inputs in (("vocab",), ("rank",)) or a.outputs == ("vocab",):
            expected = (1, 1 / 4 if "layers" not in a.copies else 1 / 8, 1)
        else:
            expected = (1 / 4, 1 / 2 if a.outputs == ("rank",) else 1 / 8, 4)
        seen.add(expected)
        lr, eps, decay = found[path]
        assert (lr, eps if expected[1] else None, decay) == expected, path
    assert len(seen) == (5 if family == "rwkv7" else 3)


@pytest.mark.parametrize(
    "family, name",
    [
        ("transformer", "muon"),
        ("rwkv4", "lion"),
        pytest.param("moe", "adamw", marks=pytest.mark.slow),
        pytest.param("rwkv7", "adamw", marks=pytest.mark.slow),
    ],
)
def test_at_the_base_size_mup_is_standard(family, name):
    """Initial parameters, loss and a step of the optimizer are the same program."""
    hyper = {"b1": 0.9, "b2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "clip_norm": 1.0}

    def program(config):
        model = models.build(config)

        def step(key, tokens_BT):
            params = model.init(key)
            loss, grads = jax.value_and_grad(lambda p: training_loss(model, p, tokens_BT)[0])(params)
            update = optim.optimizer(name, model, hyper, 0.01).update  # type: ignore[arg-type]
            return loss, update(grads, optim.init_state(name, model, params), params)[0]

        return jax.jit(step).lower(jax.random.key(0), np.zeros((2, 9), np.int32)).as_text()

    standard = ladder(16, VOCAB, family, n_layers=2)
    mup = MuP(16, 2, getattr(standard, "d_head", 1))
    assert ladder(16, VOCAB, family, n_layers=2, mup=mup) == dataclasses.replace(standard, mup=mup)
    expected = program(standard)
    assert program(dataclasses.replace(standard, mup=mup)) == expected
    if family == "transformer":
        other = dataclasses.replace(mup, base_d_model=8)
        assert program(dataclasses.replace(standard, mup=other)) != expected


BATCHES = [np.random.default_rng(i).zipf(1.3, (8, 17)).astype(np.int32) % VOCAB for i in range(3)]


@functools.cache
def changes(family: str, width: int, n_layers: int, mup: bool, name: str = "adamw") -> np.ndarray:
    """Of the stream after the embedding, half the layers and all, and of the logits, in three steps."""
    base = MuP(32, 2, getattr(ladder(32, VOCAB, family), "d_head", 1))
    config = ladder(width, VOCAB, family, n_layers=n_layers, mup=base if mup else None)
    optimizer = OptimizerConfig(lr=2e-3 if name == "adamw" else 1e-2, b2=0.99, name=name)
    return np.array(list(coordinate_check.changes(config, optimizer, BATCHES).values()))


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "family, name",
    [("transformer", "adamw"), slow("transformer", "muon"), slow("moe", "adamw"), slow("rwkv7", "adamw")],
)
def test_activations_change_alike_at_every_width_under_mup(family, name):
    """From width 32 on by less than 1.5 times more or less.

    The change of logits has a part that vanishes as width grows, so it may fall; it must not grow.
    """
    ratio = changes(family, 128, 2, True, name) / changes(family, 32, 2, True, name)
    assert (np.abs(np.log(ratio[:-1])) < np.log(1.5)).all() and 1 / 4 < ratio[-1] < 1.2, ratio


@pytest.mark.parametrize("name, width", [("adamw", 128), slow("muon", 256)])
def test_activations_of_wide_networks_change_more_under_standard(name, width):
    """From width 32, where it is the same as muP."""
    ratio = changes("transformer", width, 2, False, name) / changes("transformer", 32, 2, True, name)
    assert ratio[1:].min() > 2 and ratio[-1] > 3, ratio


def test_activations_change_alike_at_every_depth_under_mup_only():
    """From 2 to 8 layers; under standard what layers add up to changes more."""
    small = changes("transformer", 32, 2, True)
    deep, standard = (changes("transformer", 32, 8, mup) / small for mup in (True, False))
    assert (np.abs(np.log(deep)) < np.log(1.5)).all(), deep
    assert standard[1:].min() > 1.7, standard
