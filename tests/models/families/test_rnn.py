"""Sequence-to-sequence RNNs: cells by hand, exact under every way of running, the bottleneck shown."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import RNNConfig
from models.families.rnn import alignments
from models.layers.cells import CELLS, recur

CONFIGS = {
    "gru": RNNConfig(61, 12, 2, cell="gru"),
    "lstm": RNNConfig(61, 8, 3, cell="lstm"),
    "without": RNNConfig(61, 8, 2, cell="gru", attention=False),
}
LENGTHS = (9, 6, 1)


@pytest.fixture(scope="module", params=CONFIGS)
def network(request):
    model = models.build(CONFIGS[request.param])
    # The program of the draws runs once and is not worth optimizing.
    init = jax.jit(model.init, compiler_options={"xla_backend_optimization_level": 0})
    key_source, key_target = jax.random.split(jax.random.key(2))
    source = {
        "source_BS": jax.random.randint(key_source, (3, 9), 0, 61),
        "source_mask_BS": jnp.arange(9) < jnp.array(LENGTHS)[:, None],
    }
    return model, init(jax.random.key(1)), jax.random.randint(key_target, (3, 12), 0, 61), source


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_by_hand(x, h, params):
    """One row and one step: z and r from input and state, the candidate with the state's share reset."""
    (w_z, w_r, w_n), (u_z, u_r, u_n), (b_z, b_r, b_n) = params
    z = sigmoid(x @ w_z + h @ u_z + b_z)
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    return z * h + (1 - z) * np.tanh(x @ w_n + b_n + r * (h @ u_n))


def lstm_by_hand(x, h, c, params):
    """One row and one step: i, f, candidate g and o."""
    (w_i, w_f, w_g, w_o), (u_i, u_f, u_g, u_o), (b_i, b_f, b_g, b_o) = params
    i, f = sigmoid(x @ w_i + h @ u_i + b_i), sigmoid(x @ w_f + h @ u_f + b_f)
    c = f * c + i * np.tanh(x @ w_g + h @ u_g + b_g)
    return sigmoid(x @ w_o + h @ u_o + b_o) * np.tanh(c), c


@pytest.mark.parametrize("cell", CELLS)
def test_encoder_and_decoder_equal_a_loop_in_numpy(cell):
    """One layer without attention, token by token: the whole network is its formulas."""
    model = models.build(RNNConfig(7, 4, 1, cell=cell, attention=False))
    n_gates = CELLS[cell][1]
    params = jax.jit(model.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def split(layer):
        w_x, w_h = (layer[name][0].reshape(4, n_gates, 4).swapaxes(0, 1) for name in ("w_x", "w_h"))
        return w_x, w_h, layer["bias"][0].reshape(n_gates, 4)

    h, c, rows, source, target = np.zeros(4), np.zeros(4), [], [3, 0, 5, 5], [1, 6, 2]
    for token, stack in [(t, "encoder") for t in source] + [(t, "decoder") for t in target]:
        x = p["ends"]["embedding"][token]
        if cell == "gru":
            h = gru_by_hand(x, h, split(p[stack]))
        else:
            h, c = lstm_by_hand(x, h, c, split(p[stack]))
        if stack == "decoder":
            rows.append(np.tanh((x + h) @ p["ends"]["w_out"]) @ p["ends"]["head"])
    logits = jax.jit(model.apply)(params, jnp.array([target]), source_BS=jnp.array([source]))
    np.testing.assert_allclose(logits[0], rows, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_written_gradient_is_the_derived_one(cell):
    step, n_gates, n_states = CELLS[cell]
    keys = jax.random.split(jax.random.key(0), 3)
    state = tuple(jax.random.normal(keys[0], (n_states, 2, 3)))
    gates, w = jax.random.normal(keys[1], (5, 2, n_gates * 3)), jax.random.normal(keys[2], (3, n_gates * 3))
    mask = jnp.arange(5)[:, None] < jnp.array([5, 3])

    def plain(state, gates, w):
        states = []
        for t in range(5):
            after = step(state, gates[t], state[0] @ w)
            state = tuple(jnp.where(mask[t][:, None], new, old) for new, old in zip(after, state))
            states.append(state)
        return tuple(map(jnp.stack, zip(*states)))

    def gradients(run):
        loss = lambda *x: sum(jnp.sin(s).sum() for s in run(*x))  # noqa: E731
        return jax.jit(jax.grad(loss, (0, 1, 2)))(state, gates, w)

    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
    ours = gradients(lambda state, gates, w: recur(step, state, gates, mask, w))
    jax.tree.map(close, ours, gradients(plain))


def test_alignments_are_distributions_over_the_real_source_tokens(network):
    model, params, tokens_BT, source = network
    if not model.config.attention:
        with pytest.raises(ValueError, match="attention=False"):
            alignments(model.config, params, tokens_BT, **source)
        return
    weights_BTS = jax.jit(lambda p: alignments(model.config, p, tokens_BT, **source))(params)
    assert weights_BTS.shape == (3, 12, 9) and (weights_BTS >= 0).all()
    np.testing.assert_allclose(weights_BTS.sum(axis=2), 1, atol=1e-6)
    hidden_BTS = np.broadcast_to(~np.asarray(source["source_mask_BS"])[:, None], weights_BTS.shape)
    assert (np.asarray(weights_BTS)[hidden_BTS] == 0).all()
    assert weights_BTS[0].std() > 0


def test_the_decoder_reaches_the_source_only_through_the_last_state_unless_it_has_attention(network):
    """Two sources that leave the encoder in one state are one source to a decoder without attention."""
    model, params, tokens_BT, _ = network
    # Update gates shut, forget gates open and input gates shut: the state stays zero whatever is read.
    n_gates = CELLS[model.config.cell][1]
    shut = {"gru": [50, 0, 0], "lstm": [-50, 50, 0, 0]}[model.config.cell]
    encoder = jax.tree.map(jnp.zeros_like, params["encoder"])
    encoder["bias"] = jnp.broadcast_to(jnp.repeat(jnp.array(shut, jnp.float32), model.config.d_model),
                                       encoder["bias"].shape)  # fmt: skip
    assert encoder["bias"].shape[1] == n_gates * model.config.d_model
    apply = jax.jit(
        lambda source_BS: model.apply(params | {"encoder": encoder}, tokens_BT, source_BS=source_BS)
    )
    sources = jax.random.randint(jax.random.key(5), (2, 3, 6), 0, 61)
    same = np.allclose(apply(sources[0]), apply(sources[1]), atol=1e-6)
    assert same == (not model.config.attention)


def test_counts_equal_the_real_tree(network):
    model = network[0]
    sizes: dict[str, int] = {}
    groups = {"w_score": "attention", "w_context": "attention", "w_out": "combine"}
    for path, leaf in jax.tree.leaves_with_path(jax.eval_shape(model.init, jax.random.key(0))):
        top, name = path[0].key, path[-1].key
        group = groups.get(name, name) if top == "ends" else top
        sizes[group] = sizes.get(group, 0) + math.prod(leaf.shape)
    parts = models.count(model.config).parts
    assert {name: part.n_params for name, part in parts.items() if part.n_params} == sizes


def test_states_stay_float32_under_bfloat16_compute(network):
    """Sums over many tokens are kept in them."""
    model, params, tokens_BT, source = network
    half = models.build(dataclasses.replace(model.config, dtype="bfloat16"))
    _, cache = jax.eval_shape(lambda: half.prefill(params, tokens_BT, jnp.full(3, 12), 12, **source))
    assert {state.dtype for state in cache["states"]} == {jnp.dtype("float32")}
