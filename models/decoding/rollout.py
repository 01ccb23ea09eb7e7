"""Rollouts for training: prompts and what the network says to them, in one program.

`sample` serves many prompts of any shape; this serves one batch of one shape, inside of a training step,
under vmap and on a mesh. The same (seed, prompt) says the same in both.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.decoding import processors
from models.decoding.sampling_loop import draw
from models.model import Model
from models.one_row import in_one_row


class Rollout(NamedTuple):
    """Prompts with their responses, contiguous and padded on the right with 0; T = P + max_new.

    tokens_BT: int32. prompt_lengths_B: int32. lengths_B: int32, prompt and response, EOS included.
    logps_BT: float32 [B,T-1] in nats; at t the log-probability of token t+1 given those before under the
    distribution it was drawn from, 0 outside of responses. ended_B: bool; false where max_new cut it off.
    """

    tokens_BT: jax.Array
    prompt_lengths_B: jax.Array
    lengths_B: jax.Array
    logps_BT: jax.Array
    ended_B: jax.Array


def rollout(
    model: Model,
    params: Any,
    tokens_BP: jax.Array,
    lengths_B: jax.Array,
    seeds_B: jax.Array,
    max_new: int,
    eos_id: int,
    temperature: jax.Array | float = 1.0,
) -> Rollout:
    """A response to each prompt from softmax(logits / temperature), until EOS or `max_new` tokens.

    A row depends on its prompt and seed alone: it is continuation 0 of `sample` with that seed. (So far as
    the hardware adds up a row's numbers alike in batches of any size.)

    Args:
      model: a network; static. One with an encoder reads prompts, and its decoder responds (`in_one_row`).
      params: its parameters.
      tokens_BP: int32 prompts, padded on the right with anything.
      lengths_B: int32, tokens of each prompt, at least 1.
      seeds_B: uint32, the randomness of each row.
      max_new: most tokens of a response, EOS included; static.
      eos_id: the token that ends a response; static.
      temperature: may be traced; 0 takes the likeliest token, with log-probability 0.

    Raises:
      ValueError: `max_new` below 1.
    """
    model = in_one_row(model)
    if max_new < 1:
        raise ValueError(f"rollout: max_new={max_new}; it must be at least 1")
    n_rows, n_prompt = tokens_BP.shape
    rows, n_slots = jnp.arange(n_rows), n_prompt + max_new
    keys_B = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), 0))(seeds_B)

    def say(state, logits_BV):
        """Draws a token for each row; those that are open take it."""
        step, tokens_BT, lengths_B, logps_BT, open_B, _ = state
        shaped_BV = processors.temperature(logits_BV, temperature)
        token_B = draw(keys_B, jnp.full(n_rows, step), shaped_BV)
        logp_B = jnp.take_along_axis(jax.nn.log_softmax(shaped_BV), token_B[:, None], axis=1)[:, 0]
        # A row that has ended writes beyond the end, which is dropped.
        place_B = jnp.where(open_B, lengths_B, n_slots)
        tokens_BT = tokens_BT.at[rows, place_B].set(token_B, mode="drop")
        logps_BT = logps_BT.at[rows, place_B - 1].set(logp_B, mode="drop")
        return step + 1, tokens_BT, lengths_B + open_B, logps_BT, open_B & (token_B != eos_id), token_B

    def goes_on(carry):
        (step, *_, open_B, _), _ = carry
        return (step < max_new) & jnp.any(open_B)

    def body(carry):
        state, cache = carry
        logits_BV, cache = model.decode(params, state[-1], cache)
        return say(state, logits_BV), cache

    is_prompt_BP = jnp.arange(n_prompt) < lengths_B[:, None]
    tokens_BT = jnp.pad(jnp.where(is_prompt_BP, tokens_BP, 0), ((0, 0), (0, max_new))).astype(jnp.int32)
    logits_BV, cache = model.prefill(params, tokens_BT[:, :n_prompt], lengths_B, n_slots)
    nothing = jnp.zeros((n_rows, n_slots - 1), jnp.float32)
    first = (
        jnp.int32(0),
        tokens_BT,
        lengths_B,
        nothing,
        jnp.ones(n_rows, bool),
        jnp.zeros(n_rows, jnp.int32),
    )
    state, _ = jax.lax.while_loop(goes_on, body, (say(first, logits_BV), cache))
    _, tokens_BT, ends_B, logps_BT, open_B, _ = state
    return Rollout(tokens_BT, lengths_B, ends_B, logps_BT, ~open_B)
