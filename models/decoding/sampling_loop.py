"""The compiled loop of sampling: rows that take tokens side by side, and admitted ones in the place of old.

Every row has its own key, so what it says does not depend on its neighbours, on when it came, or on how many
steps are taken at a time.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.decoding import history, processors
from models.decoding.history import History
from models.decoding.prefill import take_rows
from models.model import Model

N_OUT = 64  # most steps of one call
STRETCH = 64  # tokens that are next to each other in the vocabulary


class RowPool(NamedTuple):
    """What B rows have on the device: cache, the logits that the next token is drawn from, and history."""

    cache: Any
    logits_BV: jax.Array
    history: History


class RowInputs(NamedTuple):
    """What the host knows of each row.

    seed, sample: uint32, the row's key. new: int32, tokens it has sampled. room: int32, how many it still
    takes; 0 for one that is closed.
    """

    seed: Any
    sample: Any
    new: Any
    room: Any


class LoopSettings(NamedTuple):
    """How rows are sampled: `SamplingSettings.arrays`, and the tokens that end a row, padded with -1.

    That holds for all rows, or of each: `settings.per_row`, and ends [B,E]. masks_BW: int32, the tokens that
    each may draw (`constraints.masks`), of one step; None: any.
    """

    processors: dict[str, Any]
    ends_E: Any
    masks_BW: Any = None


def empty(logits_BV: Any, cache: Any, histories: History) -> RowPool:
    """A pool of closed rows with such arrays, given as shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), RowPool(cache, logits_BV, histories))


@functools.partial(jax.jit, donate_argnums=0)
def admit(
    pool: RowPool,
    logits_PV: jax.Array,
    cache: Any,
    source_R: jax.Array,
    target_R: jax.Array,
    histories: History,
) -> RowPool:
    """Puts R admitted rows into the pool, with what the prefill of P texts left.

    Args:
      pool: of B rows; its buffers are reused.
      logits_PV, cache: those of the prefill.
      source_R, target_R: admitted row r has text source[r] and takes row target[r] of the pool; a target
        beyond the pool is dropped.
      histories: of the R rows.
    """

    def put(old, new):
        place = target_R if old.ndim == 1 else (slice(None), target_R)  # [B], or [L,B,…]
        return old.at[place].set(new, mode="drop")

    return RowPool(
        jax.tree.map(put, pool.cache, take_rows(cache, source_R)),
        pool.logits_BV.at[target_R].set(logits_PV[source_R], mode="drop"),
        History(*(old.at[target_R].set(new, mode="drop") for old, new in zip(pool.history, histories))),
    )


@functools.partial(jax.jit, donate_argnums=2, static_argnums=(0, 7))
def advance(
    model: Model,
    params: Any,
    pool: RowPool,
    rows: RowInputs,
    settings: LoopSettings,
    n_steps: jax.Array,
    floor: jax.Array,
    n_top: int,
) -> tuple[RowPool, dict[str, jax.Array]]:
    """Up to `n_steps` (at most N_OUT) tokens for every row, until no more than `floor` rows are open.

    Args:
      pool: of B rows; its buffers are reused.
      rows: what the host knows of each, [B].
      settings: how they are sampled.
      n_steps, floor: int32 scalars.
      n_top: how many of the likeliest tokens to report; static.

    Also returns what was drawn, [N_OUT,B] each, of which row b took the first lengths[b] [B]: "tokens",
    "logprobs" (the model's own, in nats), "sampling_logprobs" (of the distribution that was drawn from), and
    with `n_top` the model's likeliest tokens [N_OUT,B,n_top] as "top_tokens", with both for each.
    """

    keys_B = jax.vmap(lambda seed, j: jax.random.fold_in(jax.random.key(seed), j))(rows.seed, rows.sample)
    choose = functools.partial(_choose, settings=settings, n_top=n_top)

    def body(carry):
        step, pool, room_B, out = carry
        token_B, histories, drawn = choose(keys_B, rows.new + step, pool.logits_BV, pool.history)
        out = {name: out[name].at[step].set(drawn[name]) for name in drawn} | {
            "lengths": out["lengths"] + (room_B > 0)
        }
        ends_B = jnp.any(token_B[:, None] == settings.ends_E, axis=1)
        room_B = jnp.where(ends_B, 0, jnp.maximum(room_B - 1, 0))
        logits_BV, cache = model.decode(params, token_B, pool.cache)
        return step + 1, RowPool(cache, logits_BV, histories), room_B, out

    def goes_on(carry):
        step, _, room_B, _ = carry
        return (step < n_steps) & (jnp.sum(room_B > 0) > floor)

    *_, drawn = jax.eval_shape(choose, keys_B, rows.new, pool.logits_BV, pool.history)
    out = {name: jnp.zeros((N_OUT, *each.shape), each.dtype) for name, each in drawn.items()}
    out["lengths"] = jnp.zeros(len(pool.logits_BV), jnp.int32)
    _, pool, _, out = jax.lax.while_loop(goes_on, body, (jnp.int32(0), pool, jnp.asarray(rows.room), out))
    return pool, out


def _choose(keys_B, new_B, logits_BV, histories: History, settings: LoopSettings, n_top: int):
    """The token each row draws as its new[b]-th, the history with it, and what is reported of it."""
    if settings.masks_BW is None:
        processed_BV = processors.process(logits_BV, histories, settings.processors, settings.ends_E)
    else:
        masked_BV = processors.only_allowed(logits_BV, settings.masks_BW)
        processed_BV = processors.process_allowed(masked_BV, histories, settings.processors, settings.ends_E)
    token_B = draw(keys_B, new_B, processed_BV)
    drawn = {"tokens": token_B}
    if n_top:
        drawn["top_tokens"] = jax.lax.top_k(logits_BV, n_top)[1]
    for name, x_BV in (("logprobs", logits_BV), ("sampling_logprobs", processed_BV)):
        total_B1 = jax.nn.logsumexp(x_BV, axis=1, keepdims=True)
        drawn[name] = (jnp.take_along_axis(x_BV, token_B[:, None], axis=1) - total_B1)[:, 0]
        if n_top:
            drawn[f"top_{name}"] = jnp.take_along_axis(x_BV, drawn["top_tokens"], axis=1) - total_B1
    return token_B, history.extend(histories, token_B), drawn


def draw(keys_B: jax.Array, steps_B: jax.Array, logits_BV: jax.Array) -> jax.Array:
    """One token a row from softmax(logits); row b's randomness is (keys[b], steps[b]) and nothing else.

    Inverts the distribution in two stages, first of a stretch of the vocabulary and then in it, for which two
    random numbers a row are enough; noise on each logit takes as many as there are tokens.
    """
    beyond = -logits_BV.shape[1] % STRETCH
    logits_BV = jnp.pad(logits_BV, ((0, 0), (0, beyond)), constant_values=-jnp.inf)
    weights_BV = jnp.exp(logits_BV - logits_BV.max(axis=1, keepdims=True))
    weights_BNS = weights_BV.reshape(len(weights_BV), -1, STRETCH)
    keys_B = jax.vmap(jax.random.fold_in)(keys_B, steps_B)
    uniform_B2 = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys_B)
    stretch_B = _inverted(weights_BNS.sum(axis=2), uniform_B2[:, 0])
    weights_BS = jnp.take_along_axis(weights_BNS, stretch_B[:, None, None], axis=1)[:, 0]
    return stretch_B * STRETCH + _inverted(weights_BS, uniform_B2[:, 1])


def _inverted(weights_BN: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """The n [B] where the running sum of weights passes this share of the whole; never one without weight."""
    sums_BN = jnp.cumsum(weights_BN, axis=1)
    whole_B1 = sums_BN[:, -1:]
    # A share just below 1 may be rounded to the whole, which no sum passes: then it is the last that weighs.
    passed_BN = (sums_BN > uniform_B[:, None] * whole_B1) | (sums_BN == whole_B1)
    return jnp.argmax(passed_BN, axis=1).astype(jnp.int32)
