"""Low-rank adapters: nothing at the start, exact when merged, and all that is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from models import Experts, TransformerConfig
from models.layers import lora
from models.partial_training import leaves

DENSE = TransformerConfig(31, 12, 2, 2, 1, 6, 8)
MIXTURE = TransformerConfig(**vars(DENSE) | {"family": "moe", "experts": Experts(4, 2, 8)})
PATTERNS = ("blocks/attention/w_*", "blocks/mlp/w_*")
RANK, SCALE = 2, 8 / 2
merge = jax.jit(lora.merge)
TOKENS_BT = jax.random.randint(jax.random.key(2), (2, 6), 0, 31)


@pytest.fixture(scope="module", params=[DENSE, MIXTURE], ids=["dense", "moe"])
def adapted(request):
    """A network, its parameters, fresh adapters, and adapters after three steps of training them."""
    model = models.build(request.param)
    params = jax.jit(model.init)(jax.random.key(0))
    fresh = jax.jit(lambda key: lora.init(key, params, model.axes, *PATTERNS, rank=RANK))(jax.random.key(1))
    optimizer = optax.adamw(0.05, weight_decay=0.1)

    @jax.jit
    def step(adapters, state):
        def loss(adapters):
            return (model.apply(lora.merge(params, adapters, SCALE), TOKENS_BT) ** 2).mean()

        updates, state = optimizer.update(jax.grad(loss)(adapters), state, adapters)
        return optax.apply_updates(adapters, updates), state

    trained, state = fresh, jax.jit(optimizer.init)(fresh)
    for _ in range(3):
        trained, state = step(trained, state)
    return model, params, fresh, trained


def test_starts_as_the_network_it_adapts(adapted):
    _, params, fresh, _ = adapted
    jax.tree.map(np.testing.assert_array_equal, merge(params, fresh, SCALE), params)
    a = fresh["blocks"]["attention"]["w_q"]["a"]
    assert 0.5 < float(a.std()) * 12**0.5 < 1.5
    assert np.abs(a[0] - a[1]).max() > 0.01  # layers have factors of their own


def test_training_moves_every_factor_and_merging_what_they_adapt_alone(adapted):
    _, params, fresh, trained = adapted
    before = leaves(fresh)
    for path, leaf in leaves(trained).items():
        copies = leaf.shape[: leaf.ndim - 2] if "mlp" in path else leaf.shape[:1]
        moved = (np.asarray(leaf) != before[path]).reshape(*copies, -1).any(axis=-1)
        assert moved.all(), path  # of each layer and each expert
    merged = leaves(merge(params, trained, SCALE))
    for path, leaf in leaves(params).items():
        assert np.array_equal(leaf, merged[path]) == (not path[-1].startswith("w_")), path


def test_merging_adds_the_product_of_each_layers_and_experts_factors(adapted):
    _, params, _, trained = adapted
    merged = merge(params, trained, SCALE)
    w, factors = params["blocks"]["attention"]["w_q"], trained["blocks"]["attention"]["w_q"]
    for layer in range(2):  # [D,H,K] from [D,r] and [r,H,K]
        expected = w[layer] + SCALE * np.einsum("dr,rhk->dhk", factors["a"][layer], factors["b"][layer])
        np.testing.assert_allclose(merged["blocks"]["attention"]["w_q"][layer], expected, atol=1e-5)
    w, factors = params["blocks"]["mlp"]["w_down"], trained["blocks"]["mlp"]["w_down"]
    matrices = zip(*(np.reshape(x, (-1, *x.shape[-2:])) for x in (w, factors["a"], factors["b"])))
    expected = np.stack([w + SCALE * a @ b for w, a, b in matrices]).reshape(w.shape)
    np.testing.assert_allclose(merged["blocks"]["mlp"]["w_down"], expected, atol=1e-5)


def test_the_merged_network_is_the_adapted_one(adapted):
    model, params, _, trained = adapted
    merged = merge(params, trained, SCALE)
    adapted_apply = jax.jit(
        lambda params, adapters: model.apply(lora.merge(params, adapters, SCALE), TOKENS_BT)
    )
    logits = jax.jit(model.apply)(merged, TOKENS_BT)
    np.testing.assert_array_equal(adapted_apply(params, trained), logits)
    assert np.abs(logits - jax.jit(model.apply)(params, TOKENS_BT)).max() > 0.01
    back = merge(merged, trained, -SCALE)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), back, params)


def test_axes_are_those_of_the_factors(adapted):
    model, _, fresh, _ = adapted
    axes = lora.adapter_axes(model.axes, *PATTERNS)
    jax.tree.map(lambda a, leaf: np.testing.assert_equal(len(a.names), leaf.ndim), axes, fresh)
    assert axes["blocks"]["attention"]["w_o"]["a"].names == ("layers", "heads", "head", "rank")
    assert axes["blocks"]["attention"]["w_o"]["b"].names == ("layers", "rank", "embed")


def test_vectors_alone_a_missing_path_and_rank_0_are_refused():
    model = models.build(DENSE)
    params = jax.eval_shape(model.init, jax.random.key(0))
    for pattern, rank, message in (
        ("blocks/*norm*", 2, "matches vectors alone: blocks/attention_norm/scale, blocks/mlp_norm/scale"),
        ("blocks/attn/w_q", 2, "near it are .*blocks/attention/w_q"),
        ("blocks/*", 0, "rank=0; it must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            lora.init(jax.random.key(0), params, model.axes, pattern, rank=rank)
    adapters = jax.eval_shape(lambda: lora.init(jax.random.key(0), params, model.axes, "blocks/*", rank=2))
    assert "attention_norm" not in adapters["blocks"]
    assert adapters["blocks"]["mlp"]["w_up"]["b"].dtype == jnp.float32
