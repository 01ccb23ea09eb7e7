"""Mixtures of experts: equal to a plain reference, causal also where they drop, counted, balanced."""

import functools
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import Experts, TransformerConfig, count, ladder
from models.families.moe import mixture as mixture_layer
from models.layers import moe
from models.parameters import functional
from tests.models.configs.test_counting import product_flops
from tests.tiers import slow_but

E, K, D, F = 5, 2, 12, 8


def mixture(**changes) -> Any:
    """Two layers of five experts, two a token, with room for all tokens unless `changes` say otherwise."""
    experts = Experts(**{"n_experts": E, "top_k": K, "d_expert": F, "capacity_factor": E / K} | changes)
    return TransformerConfig(61, D, 2, 2, 1, 6, 24, experts=experts, family="moe")


def layer(config: TransformerConfig):
    init, bind, _ = functional(lambda keys: mixture_layer(config, keys))
    return jax.jit(init)(jax.random.key(3)), lambda params, x_BTD, exact=False: bind(params)(x_BTD, exact)


def reference(config: Any, params, x_BTD, keep_BTK: Any = 1.0):
    """Every expert applied to every token, then chosen; `keep` is 0 for a choice that is dropped."""
    experts = config.experts
    logits_BTE = x_BTD @ params["router"] + (params["b_router"] if experts.biases else 0)
    probs_BTE = jax.nn.softmax(logits_BTE)
    weight_BTK, choice_BTK = jax.lax.top_k(probs_BTE, experts.top_k)
    if experts.renormalize:
        weight_BTK = weight_BTK / weight_BTK.sum(axis=-1, keepdims=True)
    out_BTD = jnp.zeros_like(x_BTD)
    for e in range(experts.n_experts):
        gate, up, down = (params[f"b_{name}"][e] if experts.biases else 0 for name in ("gate", "up", "down"))
        hidden = jax.nn.silu(x_BTD @ params["w_gate"][e] + gate) * (x_BTD @ params["w_up"][e] + up)
        swiglu = hidden @ params["w_down"][e] + down
        out_BTD += (weight_BTK * keep_BTK * (choice_BTK == e)).sum(axis=-1, keepdims=True) * swiglu
    if experts.d_shared:
        w = params["shared"]
        shared_BTD = jax.nn.silu(x_BTD @ w["w_gate"]) * (x_BTD @ w["w_up"]) @ w["w_down"]
        gate = jax.nn.sigmoid(x_BTD @ params["shared_gate"]) if experts.shared_gate else 1
        out_BTD += gate * shared_BTD
    share_E = jnp.stack([(choice_BTK == e).mean() for e in range(experts.n_experts)])
    balance = experts.n_experts * (share_E * probs_BTE.mean(axis=(0, 1))).sum()
    z = (jax.nn.logsumexp(logits_BTE, axis=-1) ** 2).mean()
    return out_BTD, experts.balance_loss * balance + experts.z_loss * z


CASES = {
    "capacity, mixtral": ((2, 9), {}),
    "capacity, olmoe": ((2, 9), {"renormalize": False}),
    "capacity, qwen2": ((2, 9), {"d_shared": 10, "shared_gate": True}),
    "dropless, two tokens": ((1, 2), {"dispatch": "dropless"}),
    "dropless, few": ((2, 9), {"dispatch": "dropless"}),
    "dropless, blocks": ((3, 100), {"dispatch": "dropless"}),  # more tokens than `moe.FEW`
    "dropless, gpt-oss": ((3, 100), {"dispatch": "dropless", "biases": True}),
    "capacity, gpt-oss": ((2, 9), {"biases": True}),
    "dropless, deepseek": ((3, 100), {"dispatch": "dropless", "renormalize": False, "d_shared": 10}),
}


@pytest.mark.parametrize("case", slow_but(["capacity, mixtral", "dropless, few", "dropless, blocks"], CASES))
def test_equals_all_experts_in_output_losses_and_every_gradient(case):
    shape, changes = CASES[case]
    config = mixture(**changes, balance_loss=0.3, z_loss=0.2)
    params, apply = layer(config)
    biases = {
        name: jax.random.normal(jax.random.key(7), b.shape) for name, b in params.items() if "b_" in name
    }
    params |= biases
    x_BTD = 2 * jax.random.normal(jax.random.key(4), (*shape, D))
    dy_BTD = jax.random.normal(jax.random.key(5), x_BTD.shape)

    def measured(function):
        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def loss(params_and_x):
            out_BTD, extra = function(*params_and_x)
            total = (out_BTD * dy_BTD).sum() + (extra["loss"] if isinstance(extra, dict) else extra)
            return total, out_BTD

        return loss((params, x_BTD))

    got, expected = measured(apply), measured(lambda params, x_BTD: reference(config, params, x_BTD))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), got, expected)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(got[1]))
    np.testing.assert_allclose(got[0][1], expected[0][1], atol=1e-5)


def test_blocks_hold_also_where_one_expert_gets_everything():
    config = mixture(dispatch="dropless")
    params, apply = layer(config)
    params["router"] = params["router"].at[:].set(0).at[:, 3].set(1)  # expert 3, then a tie that 0 wins
    x_BTD = jnp.abs(jax.random.normal(jax.random.key(4), (3, 100, D)))
    expected, _ = reference(config, params, x_BTD)
    np.testing.assert_allclose(jax.jit(apply)(params, x_BTD)[0], expected, atol=1e-5)


def routed(config: TransformerConfig, choices: list[list[int]]):
    """A layer, and tokens that choose these experts: the larger of their first E numbers lead there."""
    params, apply = layer(config)
    params["router"] = jnp.eye(D, E)
    x_TD = 0.1 * np.asarray(jax.random.normal(jax.random.key(6), (len(choices), D)))
    x_TD[:, :E] = 0
    for t, experts in enumerate(choices):
        x_TD[t, experts] = [2.0 - i for i in range(len(experts))]
    return params, apply, jnp.asarray(x_TD)[None]


def test_overflow_drops_the_choices_of_later_tokens():
    """Room for ⌈0.5 · 2 · 6 / 5⌉ = 2 choices an expert: the third token that chooses one goes without, though
    expert 0 is its first choice and only the second choice of tokens that came before."""
    choices = [[1, 0], [2, 0], [0, 1], [1, 0], [1, 4], [3, 4]]
    kept = [[1, 1], [1, 1], [0, 1], [0, 0], [0, 1], [1, 1]]
    config = mixture(capacity_factor=0.5)
    params, apply, x_BTD = routed(config, choices)
    assert moe.capacity(config.experts, 6) == 2
    out_BTD, aux = jax.jit(apply)(params, x_BTD)
    expected, _ = reference(config, params, x_BTD, jnp.asarray(kept)[None])
    np.testing.assert_allclose(out_BTD, expected, atol=1e-6)
    assert np.abs(out_BTD[0, 3]).max() == 0
    np.testing.assert_allclose(aux["drop_rate"], 4 / 12, rtol=1e-6)
    exact_BTD, aux = jax.jit(apply, static_argnums=2)(params, x_BTD, True)
    np.testing.assert_allclose(exact_BTD, reference(config, params, x_BTD)[0], atol=1e-6)
    assert aux["drop_rate"] == 0


def test_rows_do_not_share_capacity():
    config = mixture(capacity_factor=0.5)
    params, apply = layer(config)
    x_BTD = jax.random.normal(jax.random.key(4), (3, 11, D))
    together, _ = jax.jit(apply)(params, x_BTD)
    for row in range(3):
        alone, aux = jax.jit(apply)(params, x_BTD[row : row + 1])
        np.testing.assert_allclose(together[row : row + 1], alone, atol=1e-6)
        assert aux["drop_rate"] > 0


def test_where_choices_are_dropped_no_output_depends_on_a_later_token():
    """By exchanging the later tokens: choosing an expert has no gradient."""
    model = models.build(mixture(capacity_factor=0.4))
    params = jax.jit(model.init)(jax.random.key(1))
    apply = jax.jit(model.apply_with_aux)
    tokens_BT = jax.random.randint(jax.random.key(2), (2, 16), 0, 61)
    logits_BTV, aux = apply(params, tokens_BT)
    assert aux["drop_rate"] > 0
    for n in (1, 5, 12):  # what is right of n may be padding, or anything else
        other_BT = jnp.where(jnp.arange(16) < n, tokens_BT, 7 * tokens_BT % 61)
        np.testing.assert_array_equal(apply(params, other_BT)[0][:, :n], logits_BTV[:, :n])


def test_losses_and_measurements_by_hand():
    """Two tokens, two experts, one choice: probabilities (3/4, 1/4) and (9/10, 1/10), both go to expert 0."""
    experts = Experts(2, 1, 4, balance_loss=0.5, z_loss=0.25)
    probs = np.array([[0.75, 0.25], [0.9, 0.1]])
    logits_BTE = jnp.log(jnp.asarray(probs, jnp.float32))[None] + 3  # logsumexp is 3
    choice_BTK, weight_BTK = moe.choose(logits_BTE, replace(experts, renormalize=False))
    np.testing.assert_allclose(weight_BTK[0, :, 0], [0.75, 0.9], rtol=1e-6)
    np.testing.assert_allclose(
        moe.choose(logits_BTE, replace(experts, top_k=2))[1][0, 0], [0.75, 0.25], rtol=1e-6
    )
    np.testing.assert_allclose(moe.choose(logits_BTE, experts)[1], 1)
    aux = moe.router_aux(experts, logits_BTE, choice_BTK)
    np.testing.assert_allclose(aux["balance"], 2 * (1.0 * 0.825 + 0.0 * 0.175), rtol=1e-6)
    np.testing.assert_allclose(aux["z"], 9, rtol=1e-6)
    np.testing.assert_allclose(aux["loss"], 0.5 * 1.65 + 0.25 * 9, rtol=1e-6)
    assert aux["expert_load_max"] == 2
    np.testing.assert_allclose(aux["router_entropy"], -(probs * np.log(probs)).sum() / 2, rtol=1e-5)
    uniform = moe.router_aux(experts, jnp.zeros((1, 2, 2)), jnp.array([[[0], [1]]]))
    assert uniform["balance"] == uniform["expert_load_max"] == 1


def test_deepseeks_choice_by_hand():
    """Six experts in three groups, of which the best two take part; biases count in choosing alone."""
    scores = np.array([0.9, 0.1, 0.6, 0.5, 0.4, 0.45])
    logits_BTE = jnp.asarray(np.log(scores / (1 - scores)), jnp.float32)[None, None]
    experts = Experts(6, 2, 4, scores="sigmoid", n_groups=3, top_groups=2, scale=2.0)
    # The groups' best two add up to 1.0, 1.1 and 0.85: the last is out.
    choice_BTK, weight_BTK = moe.choose(logits_BTE, experts, jnp.zeros(6))
    np.testing.assert_array_equal(choice_BTK[0, 0], [0, 2])
    np.testing.assert_allclose(weight_BTK[0, 0], [2 * 0.9 / 1.5, 2 * 0.6 / 1.5], rtol=1e-6)
    # A bias of one brings expert 4 and its group in, and puts the first group out.
    bias_E = jnp.zeros(6).at[4].set(1.0)
    choice_BTK, weight_BTK = moe.choose(logits_BTE, replace(experts, renormalize=False), bias_E)
    np.testing.assert_array_equal(choice_BTK[0, 0], [4, 2])
    np.testing.assert_allclose(weight_BTK[0, 0], [2 * 0.4, 2 * 0.6], rtol=1e-6)
    # By probabilities a group is as good as its best expert: expert 1 is in beside 0, and 4 and 5 are out.
    softmax = Experts(6, 4, 4, renormalize=False, n_groups=3, top_groups=2)
    np.testing.assert_array_equal(moe.choose(logits_BTE, softmax)[0][0, 0], [0, 2, 3, 1])
    with pytest.raises(ValueError, match="n_groups=4, top_groups=1 of n_experts=6"):
        replace(experts, n_groups=4, top_groups=1)


COUNTED = [mixture(capacity_factor=1.25), mixture(d_shared=10, shared_gate=True), ladder(64, 259, "moe")]


@pytest.mark.parametrize("config", COUNTED)
def test_counts_equal_the_real_tree_and_program(config):
    model, counts, experts = models.build(config), count(config), config.experts
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert counts.n_total == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    idle = (experts.n_experts - experts.top_k) * 3 * config.d_model * experts.d_expert * config.n_layers
    assert counts.n_active == counts.n_params - idle
    batch, seq_len = 2, 16  # of which every capacity is a whole share
    program = jax.make_jaxpr(model.apply)(params, jax.ShapeDtypeStruct((batch, seq_len), jnp.int32))
    computed = counts.forward_flops_per_token(seq_len) + counts.total.wasted_flops
    assert product_flops(program.jaxpr) == batch * seq_len * computed


def test_routing_stays_float32_under_bfloat16_compute():
    config = mixture()
    params, apply = layer(config)
    x_BTD = jax.random.normal(jax.random.key(4), (2, 9, D)).astype(jnp.bfloat16)
    out_BTD, aux = jax.jit(apply)(params, x_BTD)
    assert out_BTD.dtype == jnp.bfloat16
    assert {value.dtype for value in aux.values()} == {jnp.dtype("float32")}
    expected, loss = reference(config, params, x_BTD.astype(jnp.float32))
    np.testing.assert_allclose(aux["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(out_BTD.astype(jnp.float32), expected, atol=0.03 * np.abs(expected).max())
