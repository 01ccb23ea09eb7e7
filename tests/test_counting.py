"""Counts are exact: against the real parameter tree, a walk of the real program, and XLA's own analysis."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import count
from models.config import TransformerConfig
from models.presets import ladder

CONFIGS = [
    TransformerConfig(61, 24, 3, 4, 2, 6, 40),
    TransformerConfig(61, 16, 2, 2, 2, 8, 40, tied_embeddings=True),
    ladder(64, 259),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_equal_the_real_tree_group_by_group(config):
    params = jax.eval_shape(models.build(config).init, jax.random.key(0))
    sizes = {"embedding": 0, "attention": 0, "mlp": 0, "norms": 0, "head": 0}
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [key.key for key in path]
        group = next(g for g in ("norm", *sizes) if any(g in name for name in names))
        sizes["norms" if group == "norm" else group] += math.prod(leaf.shape)
    counts = count(config)
    assert {name: part.n_params for name, part in counts.parts.items()} == sizes
    lookup = 0 if config.tied_embeddings else sizes["embedding"]
    assert counts.n_params == counts.n_total - lookup == sum(sizes.values()) - lookup


@pytest.mark.parametrize("config", CONFIGS)
def test_flops_equal_the_matrix_products_of_the_real_program(config):
    model, seq_len, batch = models.build(config), 10, 3
    params = jax.eval_shape(model.init, jax.random.key(0))
    tokens_BT = jax.ShapeDtypeStruct((batch, seq_len), jnp.int32)
    forward = jax.make_jaxpr(model.apply)(params, tokens_BT)
    both = jax.make_jaxpr(jax.grad(lambda p, t: model.apply(p, t).sum()))(params, tokens_BT)
    counts = count(config)
    assert product_flops(forward.jaxpr) == batch * seq_len * counts.forward_flops_per_token(seq_len)
    assert product_flops(both.jaxpr) == batch * seq_len * counts.flops_per_token(seq_len)


def product_flops(jaxpr) -> int:
    """FLOPs of all dot_generals; the body of a scan counts as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner_jaxpr in value if isinstance(value, tuple | list) else [value]:
                inner_jaxpr = getattr(inner_jaxpr, "jaxpr", inner_jaxpr)
                if hasattr(inner_jaxpr, "eqns"):
                    total += repeats * product_flops(inner_jaxpr)
    return total


def test_flops_are_nearly_all_that_xla_counts_in_an_unrolled_program(monkeypatch):
    """XLA adds elementwise work, which is small at this width; a scan's body it would count once."""
    scan = jax.lax.scan
    monkeypatch.setattr(jax.lax, "scan", lambda f, init, xs: scan(f, init, xs, unroll=True))
    config = dataclasses.replace(ladder(256, 259), n_layers=3)
    model = models.build(config)
    params = jax.eval_shape(model.init, jax.random.key(0))
    tokens_BT = jax.ShapeDtypeStruct((2, 64), jnp.int32)
    compiled = jax.jit(model.apply).lower(params, tokens_BT).compile()
    counted = 2 * 64 * count(config).forward_flops_per_token(64)
    assert 1.0 < compiled.cost_analysis()["flops"] / counted < 1.05


def test_cache_bytes_equal_the_real_cache():
    config = CONFIGS[0]
    model = models.build(config)
    params = model.init(jax.random.key(0))
    _, cache = model.prefill(params, jnp.ones((5, 4), jnp.int32), jnp.full(5, 4), 9)
    assert sum(leaf.nbytes for leaf in cache["k"] + cache["v"]) == 5 * count(config).cache_bytes(9)


def test_ladder_grows_by_one_dial():
    sizes = [count(ladder(d, 259)).n_params for d in range(16, 257, 16)]
    assert (np.diff(sizes) > 0).all()
    with pytest.raises(ValueError, match="multiples of 8"):
        ladder(20, 259)
    with pytest.raises(ValueError, match="at least 1"):
        ladder(16, 259, n_layers=0)
