"""Feed-forward layers against their formulas."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import MuP, TransformerConfig
from models.families.transformer import feed_forward
from models.layers.mlp import ACTIVATIONS
from models.parameters import functional

CONFIG = TransformerConfig(11, 6, 2, 2, 1, 4, 10)
# In float64, from their papers.
DEFINITIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.where(x > 0, x, 0),
}


def test_activations_are_their_definitions():
    x = np.linspace(-6, 6, 61)
    assert ACTIVATIONS.keys() == DEFINITIONS.keys()
    for name, activation in ACTIVATIONS.items():
        np.testing.assert_allclose(activation(jnp.asarray(x)), DEFINITIONS[name](x), atol=1e-6, err_msg=name)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_a_layer_is_its_formula(gated, biased):
    config = dataclasses.replace(CONFIG, gated=gated, mlp_bias=biased, activation="gelu")
    init, bind, _ = functional(lambda keys: feed_forward(config, keys))
    shapes, rng = jax.eval_shape(init, jax.random.key(0)), np.random.default_rng(0)
    names = {"w_up", "w_down"} | ({"w_gate"} if gated else set())
    assert shapes.keys() == names | ({name.replace("w", "b", 1) for name in names} if biased else set())
    params = {name: rng.normal(size=leaf.shape) for name, leaf in shapes.items()}
    x_BTD = rng.normal(size=(2, 3, 6))

    def product(x, name):
        return x @ params[f"w_{name}"] + (params[f"b_{name}"] if biased else 0)

    up_BTF = product(x_BTD, "up")
    hidden_BTF = (
        DEFINITIONS["gelu"](product(x_BTD, "gate")) * up_BTF if gated else DEFINITIONS["gelu"](up_BTF)
    )
    found_BTD, aux = bind(jax.tree.map(jnp.float32, params))(jnp.float32(x_BTD))
    np.testing.assert_allclose(found_BTD, product(hidden_BTF, "down"), rtol=1e-4, atol=1e-5)
    assert aux == {}


def test_what_goes_back_to_the_stream_starts_smaller_the_deeper_the_network():
    """At 1/√fan-in / √(2L), with the base's depth under muP; what comes in at 1/√fan-in."""
    mup = MuP(base_d_model=50, base_n_layers=2, base_d_head=4)
    for changes, n_layers in (({"n_layers": 8}, 8), ({"n_layers": 8, "mup": mup}, 2)):
        config = dataclasses.replace(CONFIG, d_model=100, d_ff=400, **changes)
        init, _, _ = functional(lambda keys, config=config: feed_forward(config, keys))
        params = init(jax.random.key(0))
        assert params["w_up"].std() == pytest.approx(0.1, rel=0.02)
        assert params["w_gate"].std() == pytest.approx(0.1, rel=0.02)
        assert params["w_down"].std() == pytest.approx((400 * 2 * n_layers) ** -0.5, rel=0.02)
