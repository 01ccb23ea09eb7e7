"""Rollouts: what `sample` says for the same seeds, with the log-probabilities of the forward pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.decoding.rollout import rollout
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from models.one_row import in_one_row
from tests.models.families.networks import CONFIGS, VOCAB, drawn
from tests.tiers import slow_but

EOS, MAX_NEW, TEMPERATURE = 4, 7, 0.7
PROMPTS = ([5], [7, 8, 9, 10, 11, 3], [3, 12], [7, 8])
SEEDS = np.array([11, 12, 13, 12], np.uint32)
# One of each family, and what differs in its cache: windows, learned positions, room of experts.
NAMES = (
    *("transformer-gpt2", "transformer-gemma2", "moe-many", "rwkv4-rwkv4", "rwkv7-rwkv7"),
    *("encdec-t5-1.1", "rnn-gru"),
)


def padded(prompts, width: int, filler: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = [[*prompt, *[filler] * (width - len(prompt))] for prompt in prompts]
    return np.array(rows, np.int32), np.array([len(prompt) for prompt in prompts], np.int32)


@functools.cache
def network(name: str):
    model = models.build(CONFIGS[name])
    return model, drawn(model)


@functools.partial(jax.jit, static_argnums=(0, 5))
def said(model, params, tokens_BP, lengths_B, seeds_B, max_new, temperature=TEMPERATURE):
    return rollout(model, params, tokens_BP, lengths_B, seeds_B, max_new, EOS, temperature)


def assert_consistent(rolled, prompts):
    """Contiguous prompt and response, EOS at the end of those that ended and nowhere else, zeros behind."""
    for tokens, prompt, start, length, ended, logps in zip(
        *(
            rolled.tokens_BT,
            prompts,
            rolled.prompt_lengths_B,
            rolled.lengths_B,
            rolled.ended_B,
            rolled.logps_BT,
        )
    ):
        response = tokens[len(prompt) : length].tolist()
        assert tokens[:start].tolist() == list(prompt)
        assert 1 <= len(response) <= MAX_NEW
        assert (EOS in response) == (response[-1] == EOS) == ended
        assert ended or len(response) == MAX_NEW
        assert not tokens[length:].any()
        assert (np.flatnonzero(logps) == np.arange(start - 1, length - 1)).all()


@pytest.mark.parametrize("name", slow_but(["transformer-gemma2"], NAMES))
def test_rollouts_are_samples_with_the_log_probabilities_of_the_forward_pass(name):
    model, params = network(name)
    rolled = jax.device_get(said(model, params, *padded(PROMPTS, 6), SEEDS, MAX_NEW))
    assert_consistent(rolled, PROMPTS)
    settings = SamplingSettings(temperature=TEMPERATURE)
    expected = sample(model, params, PROMPTS, SEEDS.tolist(), settings, max_tokens=MAX_NEW, eos_id=EOS)
    for b, [one] in enumerate(expected):
        start, length = rolled.prompt_lengths_B[b], rolled.lengths_B[b]
        assert tuple(rolled.tokens_BT[b, start:length].tolist()) == one.tokens
        assert rolled.ended_B[b] == (one.finish == "eos")
        np.testing.assert_allclose(
            rolled.logps_BT[b, start - 1 : length - 1], one.sampling_logprobs, atol=1e-5
        )

    # Experts drop nothing of rows that are given as texts, as decoding drops nothing.
    segments_BT = (np.arange(rolled.tokens_BT.shape[1]) < rolled.lengths_B[:, None]).astype(np.int32)
    apart = {"segments_BT": segments_BT}
    if model.has_encoder:
        apart = {"prompt_lengths_B": rolled.prompt_lengths_B}
    logits_BTV = jax.jit(in_one_row(model).apply)(params, rolled.tokens_BT, **apart) / TEMPERATURE
    logps_BTV = jax.nn.log_softmax(logits_BTV[:, :-1])
    logps_BT = np.take_along_axis(np.asarray(logps_BTV), rolled.tokens_BT[:, 1:, None], axis=2)[..., 0]
    was_said_BT = rolled.logps_BT != 0
    np.testing.assert_allclose(rolled.logps_BT[was_said_BT], logps_BT[was_said_BT], atol=1e-4)


def biased(bias: float):
    """A network that says EOS more often, by the size of its embedding, which is the head as well."""
    model, params = network("transformer-gpt2")
    table_VD = params["ends"]["embedding"]
    return model, params | {"ends": params["ends"] | {"embedding": table_VD.at[EOS].multiply(bias)}}


def test_a_row_is_the_same_whatever_stands_beside_and_behind_it():
    model, params = biased(2.0)
    rolled = jax.device_get(said(model, params, *padded(PROMPTS, 6), SEEDS, MAX_NEW))
    assert_consistent(rolled, PROMPTS)
    assert 0 < rolled.ended_B.sum() < len(PROMPTS)
    tokens_BP, lengths_B = padded(PROMPTS[::-1], 8, filler=VOCAB - 1)
    other = jax.device_get(said(model, params, tokens_BP, lengths_B, SEEDS[::-1].copy(), MAX_NEW))
    np.testing.assert_array_equal(other.tokens_BT[::-1, :13], rolled.tokens_BT)
    np.testing.assert_allclose(other.logps_BT[::-1, :12], rolled.logps_BT, atol=1e-5)
    np.testing.assert_array_equal(other.ended_B[::-1], rolled.ended_B)
    assert tokens_BP[0, -1] != other.tokens_BT[0, -1] == 0


def test_rows_of_packed_runs_are_those_of_each_run_alone():
    """Under vmap the loop goes on while any run has an open row; the others must not change."""
    model, params = biased(2.0)
    both = jax.tree.map(lambda x, y: jnp.stack([x, y]), params, biased(0.5)[1])
    tokens_BP, lengths_B = padded(PROMPTS, 6)
    packed = jax.vmap(lambda params, seeds_B: said(model, params, tokens_BP, lengths_B, seeds_B, MAX_NEW))
    together = jax.device_get(jax.jit(packed)(both, np.stack([SEEDS, SEEDS + 5])))
    for k, seeds_B in enumerate((SEEDS, SEEDS + 5)):
        alone = said(model, jax.tree.map(lambda x, k=k: x[k], both), tokens_BP, lengths_B, seeds_B, MAX_NEW)
        jax.tree.map(
            lambda a, b, k=k: np.testing.assert_allclose(a[k], b, atol=1e-5), together, jax.device_get(alone)
        )


def test_temperature_zero_takes_the_likeliest_token_with_certainty():
    model, params = biased(1.0)
    rolled = jax.device_get(said(model, params, *padded(PROMPTS, 6), SEEDS, MAX_NEW, 0.0))
    greedy = SamplingSettings(temperature=0.0)
    expected = sample(model, params, PROMPTS, SEEDS.tolist(), greedy, max_tokens=MAX_NEW, eos_id=EOS)
    for b, [one] in enumerate(expected):
        assert tuple(rolled.tokens_BT[b, rolled.prompt_lengths_B[b] : rolled.lengths_B[b]]) == one.tokens
    assert not rolled.logps_BT.any()


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="max_new=0"):
        rollout(*network("transformer-gpt2"), *padded(PROMPTS, 6), SEEDS, 0, EOS)
