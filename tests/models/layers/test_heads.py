"""Classifier and scalar heads: padding never matters, pooling by hand, gradients reach all parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import EncDecConfig, Experts, TransformerConfig
from models.layers import heads

DENSE = TransformerConfig(61, 12, 1, 2, 1, 6, 24)
MIXTURE = TransformerConfig(**vars(DENSE) | {"family": "moe", "experts": Experts(4, 2, 8)})
ENCDEC = EncDecConfig(61, 12, 1, 1, 2, 6, 24)
LENGTHS_B = jnp.array([3, 7, 1])


def built(make, config=DENSE):
    """A head, parameters that are not zero, and rows of tokens with what else its network reads."""
    head = make(models.build(config))
    params = jax.jit(head.init)(jax.random.key(0))
    noise = jax.random.normal(jax.random.key(1), params["head"]["w"].shape)
    params["head"] = {"w": noise, "b": jnp.arange(noise.shape[1], dtype=jnp.float32)}
    tokens_BT = jax.random.randint(jax.random.key(2), (3, 7), 0, 61)
    has_source = isinstance(config, EncDecConfig)
    return head, params, tokens_BT, {"source_BS": tokens_BT[:, :4]} if has_source else {}


HEADS = {
    "last": lambda model: heads.classifier(model, 3),
    "mean": lambda model: heads.classifier(model, 3, pool="mean"),
    "scalar": heads.scalar,
}


@pytest.mark.parametrize(
    "name, config",
    [("last", DENSE), pytest.param("mean", MIXTURE, marks=pytest.mark.slow), ("scalar", ENCDEC)],
    ids=["dense", "moe", "encdec"],
)
def test_padding_changes_nothing_and_gradients_reach_body_and_head(name, config):
    head, params, tokens_BT, source = built(HEADS[name], config)

    @jax.jit
    def measured(params, tokens_BT):
        def loss(params):
            out, aux = head.apply_with_aux(params, tokens_BT, LENGTHS_B, **source)
            return (out * jnp.arange(1, out.size + 1).reshape(out.shape)).sum(), (out, aux)

        return jax.value_and_grad(loss, has_aux=True)(params)

    real_BT = jnp.arange(7) < LENGTHS_B[:, None]
    (_, (out, aux)), grads = measured(params, tokens_BT)
    (_, (other, _)), other_grads = measured(params, jnp.where(real_BT, tokens_BT, 7))
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), grads, other_grads)
    assert np.abs(grads["body"]["ends"].pop("head")).max() == 0  # that over the vocabulary
    assert all(np.abs(grad).max() > 0 for grad in jax.tree.leaves(grads))
    assert ("loss" in aux) == (config is MIXTURE)


def test_pooling_by_hand():
    head, params, tokens_BT, _ = built(HEADS["mean"])
    x_BTD, _ = jax.jit(models.build(DENSE).hidden)(params["body"], tokens_BT)
    w, b = params["head"]["w"], params["head"]["b"]
    mean_BD = np.stack([np.asarray(x_TD)[:n].mean(axis=0) for x_TD, n in zip(x_BTD, LENGTHS_B)])
    np.testing.assert_allclose(jax.jit(head.apply)(params, tokens_BT, LENGTHS_B), mean_BD @ w + b, atol=1e-5)
    at_last = jax.jit(heads.classifier(models.build(DENSE), 3).apply)(params, tokens_BT, LENGTHS_B)
    last_BD = np.stack([x_BTD[0, 2], x_BTD[1, 6], x_BTD[2, 0]])
    np.testing.assert_allclose(at_last, last_BD @ w + b, atol=1e-5)


def test_a_number_for_each_token_and_that_of_the_row():
    head, params, tokens_BT, _ = built(heads.scalar)
    values_BT = jax.jit(head.apply)(params, tokens_BT, LENGTHS_B)
    x_BTD, _ = jax.jit(models.build(DENSE).hidden)(params["body"], tokens_BT)
    expected_BT = np.asarray(x_BTD @ params["head"]["w"])[..., 0] * (np.arange(7) < LENGTHS_B[:, None])
    np.testing.assert_allclose(values_BT, expected_BT, atol=1e-5)
    rewards_B = heads.last_token(values_BT, LENGTHS_B)
    np.testing.assert_array_equal(rewards_B, [values_BT[0, 2], values_BT[1, 6], values_BT[2, 0]])


def test_a_new_head_is_undecided_and_mistakes_are_named():
    model = models.build(DENSE)
    head = heads.classifier(model, 3)
    params = jax.jit(head.init)(jax.random.key(0))
    assert (jax.jit(head.apply)(params, jnp.ones((2, 4), jnp.int32), jnp.array([4, 2])) == 0).all()
    jax.tree.map(lambda a, p: None if len(a.names) == p.ndim else pytest.fail(str(a)), head.axes, params)
    with pytest.raises(ValueError, match="n_classes=1; it must be at least 2"):
        heads.classifier(model, 1)
    with pytest.raises(ValueError, match="pool='max'; allowed are 'last' and 'mean'"):
        heads.classifier(model, 2, pool="max")
