"""The encoder–decoder transformer: causal in its target, exact under every way of running it, equal to T5."""

import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import EncDecConfig, hf, ladder
from models.families.encdec import encode
from models.layers.positions import relative_position_bucket

CONFIGS = {
    "1.0": EncDecConfig(
        *(61, 16, 2, 1, 2, 6, 24), gated=False, activation="relu", tied_embeddings=True, n_buckets=8,
        max_distance=10,
    ),
    "1.1": EncDecConfig(61, 24, 1, 3, 4, 6, 40, n_buckets=6, max_distance=9),
}  # fmt: skip
LENGTHS = (9, 6, 1)


def draw(model):
    """Parameters; the program of the draws runs once and is not worth optimizing."""
    fast = {"xla_backend_optimization_level": 0}
    return jax.jit(model.init, compiler_options=fast)(jax.random.key(1))


@pytest.fixture(scope="module", params=CONFIGS)
def network(request):
    model = models.build(CONFIGS[request.param])
    params = draw(model)
    key_source, key_target = jax.random.split(jax.random.key(2))
    source_BS = jax.random.randint(key_source, (3, 9), 0, 61)
    mask_BS = jnp.arange(9) < jnp.array(LENGTHS)[:, None]
    return model, params, jax.random.randint(key_target, (3, 12), 0, 61), source_BS, mask_BS


def test_initial_logits_are_near_unit_size_and_scores_do_not_saturate():
    config = dataclasses.replace(ladder(64, 259, "encdec"), tied_embeddings=False)
    model = models.build(config)
    params = draw(model)
    tokens_BT = jax.random.randint(jax.random.key(1), (2, 16), 0, 259)
    logits_BTV = jax.jit(model.apply)(params, tokens_BT, source_BS=tokens_BT)
    assert 0.5 < float(logits_BTV.std()) < 2


# Of keys 0 … 20 tokens before their query, by the definition: of 8 causal buckets 4 hold one distance each,
# and bucket 4 + n begins at 4·(16/4)^(n/4) = 4, 5.7, 8, 11.3; two-sided each side has 4 of 8 buckets, of
# which bucket 2 + n begins at 2·(16/2)^(n/2) = 2, 5.7.
CAUSAL = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7]
TWO_SIDED = [0, 1, 2, 2, 2, 2] + 15 * [3]


def test_buckets_equal_a_table_made_by_hand():
    back = jnp.arange(21)
    np.testing.assert_array_equal(relative_position_bucket(-back, False, 8, 16), CAUSAL)
    np.testing.assert_array_equal(relative_position_bucket(-back, True, 8, 16), TWO_SIDED)
    np.testing.assert_array_equal(
        relative_position_bucket(back[1:], True, 8, 16), np.array(TWO_SIDED[1:]) + 4
    )
    np.testing.assert_array_equal(
        relative_position_bucket(back, False, 8, 16), np.zeros(21)
    )  # the future, which is masked


def test_encoder_looks_both_ways_and_knows_order(network):
    model, params, _, source_BS, _ = network
    run = jax.jit(lambda source_BS: encode(model.config, params, source_BS))
    states_BSD = run(source_BS)
    changed_BSD = run(source_BS.at[:, -1].set(60 - source_BS[:, -1]))
    assert (np.abs(states_BSD - changed_BSD)[:, 0].max(axis=-1) > 0).all()
    mirrored_BSD = run(source_BS[:, ::-1])[:, ::-1]
    assert np.abs(states_BSD - mirrored_BSD).max() > 1e-3  # before and after have buckets of their own


def test_counts_equal_the_real_tree(network):
    model = network[0]
    sizes: dict[str, int] = {}
    for path, leaf in jax.tree.leaves_with_path(jax.eval_shape(model.init, jax.random.key(0))):
        names = [key.key for key in path]
        groups = {"positions": "positions", "norm": "norms", "attention": "attention", "cross": "cross",
                  "mlp": "mlp", "embedding": "embedding", "head": "head"}  # fmt: skip
        group = next(groups[g] for g in groups if any(g in name for name in names))
        sizes[group] = sizes.get(group, 0) + math.prod(leaf.shape)
    counts = models.count(model.config)
    assert {name: part.n_params for name, part in counts.parts.items() if part.n_params} == sizes


def test_cache_bytes_equal_the_real_cache(network):
    model, params, *_ = network
    tokens_BT, lengths_B = jnp.ones((3, 4), jnp.int32), jnp.full(3, 4)
    prefill = jax.eval_shape(
        lambda: model.prefill(params, tokens_BT, lengths_B, 9, source_BS=jnp.ones((3, 9), jnp.int32))
    )
    n_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(prefill[1]))
    assert n_bytes - lengths_B.nbytes == 3 * models.count(model.config).cache_bytes(9)


def test_equals_t5_of_an_independent_implementation():
    """Golden values of transformers' T5 under a source mask: encoder, logits, greedy continuation."""
    folder = Path("tests/data/hf/t5")
    config, params = hf.load(folder)
    golden, model = np.load(folder / "golden.npz"), models.build(config)
    source = {"source_BS": golden["input_ids"], "source_mask_BS": golden["attention_mask"]}
    with jax.default_matmul_precision("highest"):
        encoded_BSD = jax.jit(lambda p: encode(config, p, **source))(params)
        logits_BTV = jax.jit(model.apply)(params, golden["decoder_input_ids"], **source)
        start_B1 = jnp.full((2, 1), golden["decoder_input_ids"][0, 0])
        prefill = jax.jit(lambda p: model.prefill(p, start_B1, jnp.ones(2, jnp.int32), 17, **source))
        logits_BV, cache = prefill(params)
        decode, written = jax.jit(model.decode), []
        for _ in range(16):
            written.append(logits_BV.argmax(axis=-1))
            logits_BV, cache = decode(params, written[-1], cache)
    np.testing.assert_allclose(encoded_BSD, golden["encoder_last_hidden_state"], atol=1e-4)
    np.testing.assert_allclose(logits_BTV, golden["logits"], atol=1e-4)
    np.testing.assert_array_equal(jnp.stack(written, axis=1), golden["greedy_ids"])
