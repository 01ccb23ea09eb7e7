"""What every family promises, asserted for each entry of `FAMILIES`: a new one gets these tests for nothing.

A family's own test file has what is its alone. Counts, ladders and shardings are asserted for every family in
tests/models/configs/test_counting.py, tests/models/test_ladder.py and test_sharding.py.
"""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import FAMILIES, ladder
from tests.models.families.networks import CONFIGS, VARIANTS, VOCAB, drawn
from tests.models.ragged import assert_decoding_is_the_forward_pass
from tests.tiers import slow_but

ROWS, LENGTH, SOURCE_LENGTHS = 3, 12, (9, 6, 1)


FIRST = [next(name for name in CONFIGS if name.startswith(family)) for family in FAMILIES]  # of a family


# By default also two kinds of layers; all others in the slow tier.
@pytest.fixture(params=slow_but([*FIRST, "transformer-gemma2"], CONFIGS), scope="module")
def network(request):
    """A model, parameters, a batch, and the forward pass compiled once."""
    model = models.build(CONFIGS[request.param])
    numbers, source = np.random.default_rng(1), {}
    tokens_BT = jnp.asarray(numbers.integers(0, VOCAB, (ROWS, LENGTH), np.int32))
    if model.has_encoder:
        source_BS = jnp.asarray(numbers.integers(0, VOCAB, (ROWS, max(SOURCE_LENGTHS)), np.int32))
        mask_BS = jnp.arange(max(SOURCE_LENGTHS)) < jnp.array(SOURCE_LENGTHS)[:, None]
        source = {"source_BS": source_BS, "source_mask_BS": mask_BS}
    apply = jax.jit(model.apply)
    params = drawn(model)
    return SimpleNamespace(
        model=model,
        config=model.config,
        params=params,
        tokens_BT=tokens_BT,
        source=source,
        apply=apply,
        logits_BTV=apply(params, tokens_BT, **source),
    )


def test_outputs_depend_on_no_later_token_and_on_all_before_and_the_source(network):
    """d hidden[t] / d embedding of token s is exactly zero for s > t, through all layers.

    It is not zero for s ≤ t, unless windows that add up over the layers end before s.
    """
    config, n_source = network.config, 5 if network.model.has_encoder else 0
    # One entry of the table a place, so that the gradient tells the places apart.
    row_1T, source_1S = jnp.arange(LENGTH)[None], jnp.arange(LENGTH, LENGTH + n_source)[None]
    source = {"source_BS": source_1S} if n_source else {}

    @jax.jit
    @jax.jacrev
    def jacobian(rows_ND):
        table_VD = network.params["ends"]["embedding"].at[: LENGTH + n_source].set(rows_ND)
        ends = network.params["ends"] | {"embedding": table_VD}
        x_BTD, _ = network.model.hidden(network.params | {"ends": ends}, row_1T, **source)
        return x_BTD[0] @ jnp.arange(1.0, config.d_model + 1)

    embedded_ND = network.params["ends"]["embedding"][: LENGTH + n_source]
    reach_TN = np.abs(jacobian(embedded_ND)).max(axis=-1)
    back_TT = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
    windows = getattr(config, "windows", (0,))
    layers = [windows[i % len(windows)] for i in range(config.n_layers)]
    farthest = sum(window - 1 if window else LENGTH for window in layers)
    assert (reach_TN[:, :LENGTH][(back_TT < 0) | (back_TT > farthest)] == 0).all()
    assert (reach_TN[:, :LENGTH][(back_TT >= 0) & (back_TT <= farthest)] > 0).all()
    assert (reach_TN[:, LENGTH:] > 0).all()


def test_a_row_is_the_same_beside_any_others_and_before_anything(network):
    """To the bit: other rows, later tokens and what a mask hides may be exchanged."""
    other_BT = (7 * network.tokens_BT + 3) % VOCAB
    mixed_BT = network.tokens_BT.at[1:].set(other_BT[1:]).at[0, 8:].set(other_BT[0, 8:])
    source = dict(network.source)
    if source:
        real_BS = source["source_mask_BS"].at[1:].set(False)
        source["source_BS"] = jnp.where(real_BS, source["source_BS"], 60 - source["source_BS"])
    logits_BTV = network.apply(network.params, mixed_BT, **source)
    np.testing.assert_array_equal(logits_BTV[0, :8], network.logits_BTV[0, :8])
    assert np.abs(logits_BTV[1] - network.logits_BTV[1]).max() > 1e-3


def test_a_row_alone_equals_the_row_in_its_batch(network):
    """Without the padding of its source, too."""
    source = {}
    if network.source:
        source = {"source_BS": network.source["source_BS"][1:2, : SOURCE_LENGTHS[1]]}
    alone_1TV = network.apply(network.params, network.tokens_BT[1:2], **source)
    np.testing.assert_allclose(alone_1TV[0], network.logits_BTV[1], atol=2e-5)


def test_prefill_and_decode_equal_the_full_forward_pass_for_ragged_rows(network):
    """Decoding drops nothing: where training may, the pass to equal is that of the network that does not."""
    full_BTV, experts = network.logits_BTV, getattr(network.config, "experts", None)
    if experts is not None and experts.dispatch == "capacity":
        dropless = dataclasses.replace(experts, dispatch="dropless")
        exact = models.build(dataclasses.replace(network.config, experts=dropless))
        full_BTV = jax.jit(exact.apply)(network.params, network.tokens_BT)
        assert np.abs(full_BTV - network.logits_BTV).max() > 0.01
    cache = assert_decoding_is_the_forward_pass(
        *(network.model, network.params, network.tokens_BT), atol=2e-5, full_BTV=full_BTV, **network.source
    )
    assert {leaf.shape[min(1, leaf.ndim - 1)] for leaf in jax.tree.leaves(cache)} == {ROWS}


def test_packed_weights_decode_to_the_same_logits(network):
    if network.model.pack is None:
        assert network.config.family not in ("transformer", "moe")
        return
    packed = network.params | {"packed": jax.jit(network.model.pack)(network.params)}
    lengths_B = jnp.full(ROWS, LENGTH)
    prefill = functools.partial(network.model.prefill, max_len=LENGTH + 1)
    shapes = jax.eval_shape(prefill, network.params, network.tokens_BT, lengths_B)[1]
    numbers = np.random.default_rng(2)
    cache = jax.tree.map(lambda x: jnp.asarray(numbers.normal(size=x.shape), x.dtype), shapes)
    decode = jax.jit(network.model.decode)
    token_B, cache = network.tokens_BT[:, 0], cache | {"lengths": lengths_B}
    plain, fast = decode(network.params, token_B, cache), decode(packed, token_B, cache)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), fast, plain)


@pytest.mark.slow
@pytest.mark.parametrize("network", FIRST, indirect=True)
def test_rematerialisation_changes_no_number(network):
    tokens_BT = network.tokens_BT[:2, :5]
    source = {name: each[:2] for name, each in network.source.items()}

    def value_and_gradient(remat):
        model = models.build(dataclasses.replace(network.config, remat=remat))
        loss = lambda p: (model.apply(p, tokens_BT, **source) ** 2).mean()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(network.params)

    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5)
    jax.tree.map(close, value_and_gradient(True), value_and_gradient(False))


def test_bfloat16_compute_keeps_float32_parameters_and_logits_and_is_near(network):
    """The types of a cache stay what they are from token to token."""
    half = models.build(dataclasses.replace(network.config, dtype="bfloat16"))
    logits_BTV = jax.jit(half.apply)(network.params, network.tokens_BT, **network.source)
    assert logits_BTV.dtype == network.logits_BTV.dtype == jnp.float32
    shapes = jax.eval_shape(half.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    error_BTV = np.abs(logits_BTV - network.logits_BTV)
    assert 0 < error_BTV.max() < 0.2 * np.abs(network.logits_BTV).max()

    prefill = functools.partial(half.prefill, max_len=LENGTH + 1)
    lengths_B = jnp.full(ROWS, LENGTH)
    logits, cache = jax.eval_shape(prefill, shapes, network.tokens_BT, lengths_B, **network.source)
    decoded, after = jax.eval_shape(half.decode, shapes, lengths_B, cache)
    assert logits.dtype == decoded.dtype == jnp.float32
    assert jax.tree.map(lambda x: (x.shape, x.dtype), cache) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    )


# Longer than two of RWKV-4's chunks, and each text within the table of learned positions.
TEXT_LENGTHS, PADDING = (16, 3, 1, 15, 14, 12), 9


def test_texts_of_one_row_are_as_in_rows_of_their_own_and_no_gradient_goes_between_them(network):
    """None to the bit: each text has ids of its own, and its gradient reaches the embedding of these."""
    model, n_texts, longest = network.model, len(TEXT_LENGTHS), max(TEXT_LENGTHS)
    if model.has_encoder:
        with pytest.raises(ValueError, match="segments_BT given to family="):
            model.apply(network.params, network.tokens_BT, segments_BT=network.tokens_BT, **network.source)
        return
    numbers = np.random.default_rng(3)
    texts = [10 * i + numbers.integers(0, 10, length) for i, length in enumerate(TEXT_LENGTHS)]
    packed_1T = np.concatenate([*texts, np.full(PADDING, 60)])[None].astype(np.int32)
    segments_1T = np.repeat(np.arange(1, n_texts + 2) % (n_texts + 1), [*TEXT_LENGTHS, PADDING])[None]
    alone_BT = np.array([np.pad(text, (0, longest - len(text))) for text in texts], np.int32)

    @jax.jit
    def logits_and_gradients(directions_N1TD):
        def stream(table_VD):
            params = network.params | {"ends": network.params["ends"] | {"embedding": table_VD}}
            return model.hidden(params, packed_1T, segments_BT=segments_1T)[0]

        x_1TD, pull = jax.vjp(stream, network.params["ends"]["embedding"])
        return model.logits(network.params, x_1TD)[0], jax.vmap(pull)(directions_N1TD)[0]

    own_N1T = segments_1T == np.arange(1, n_texts + 1)[:, None, None]
    direction_TD = numbers.normal(size=(packed_1T.size, model.config.d_model)).astype(np.float32)
    packed_TV, gradients_NVD = logits_and_gradients(own_N1T[..., None] * direction_TD)
    experts = getattr(model.config, "experts", None)
    if experts is not None:  # none of a packed row's tokens is dropped
        dropless = dataclasses.replace(experts, dispatch="dropless")
        model = models.build(dataclasses.replace(model.config, experts=dropless))
    alone_BTV = jax.jit(model.apply)(network.params, alone_BT)
    for text, own_1T, alone_TV, gradients_VD in zip(texts, own_N1T, alone_BTV, gradients_NVD):
        np.testing.assert_allclose(packed_TV[own_1T[0]], alone_TV[: len(text)], atol=1e-5, rtol=1e-5)
        assert set(np.flatnonzero(np.abs(gradients_VD).max(axis=-1))) == set(text)


GROWING = {family: ladder(16, VOCAB, family) for family in FAMILIES} | {
    "windows": VARIANTS["transformer"]["gemma2"],
    "dense-first": dataclasses.replace(VARIANTS["moe"]["dense-first"], windows=(0,)),
}


@pytest.mark.parametrize("name", GROWING)
def test_program_does_not_grow_with_depth(name):
    def size(n_layers):
        config = GROWING[name]
        depths = {field: n_layers for field in ("n_layers", "n_decoder_layers") if hasattr(config, field)}
        model = models.build(dataclasses.replace(config, **depths))
        params, tokens = jax.eval_shape(model.init, jax.random.key(0)), jnp.zeros((1, 8), jnp.int32)
        source = {"source_BS": tokens} if model.has_encoder else {}
        return len(jax.jit(model.apply).lower(params, tokens, **source).as_text())

    assert size(12) < 1.05 * size(2)
