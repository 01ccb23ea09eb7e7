"""RWKV-4's average of the past with decaying weights, by chunks or as the state of a recurrence.

Sums of terms exp(k)·v are kept as (sums, log): the true sums are sums · exp(log), and log is the largest k
among the terms, so nothing overflows and the largest term is never lost. A is the width of the average.
"""

import functools

import jax
import jax.numpy as jnp

NOTHING = -1e38  # log-weight of no token at all; finite, so that differences of two are numbers
CHUNK = 32  # tokens that one step of the parallel form moves past; √T is best, and the optimum is flat


def add(one: tuple, other: tuple) -> tuple:
    """The sum of two scaled sums (tuple of arrays, log)."""
    ahead = one[1] - other[1]
    smaller = jnp.exp(-jnp.abs(ahead))  # of two scales, one is 1
    scale, other_scale = jnp.where(ahead > 0, 1.0, smaller), jnp.where(ahead > 0, smaller, 1.0)
    sums = tuple(scale * a + other_scale * b for a, b in zip(one[0], other[0]))
    return sums, jnp.maximum(one[1], other[1])


def without(past: tuple, cut: jax.Array | None) -> tuple:
    """A scaled sum, of nothing where `cut` is true."""
    return past if cut is None else (past[0], jnp.where(cut, NOTHING, past[1]))


def later(past: tuple, decay: jax.Array) -> tuple:
    """A scaled sum one decay later."""
    return past[0], past[1] - decay


@jax.custom_vjp
def wkv(
    k_BTA: jax.Array,
    v_BTA: jax.Array,
    decay_A: jax.Array,
    bonus_A: jax.Array,
    first_BT: jax.Array | None = None,
) -> jax.Array:
    """Average [B,T,A] of the values up to each token, all float32.

    A value i ≥ 1 tokens back weighs exp(k - (i-1)·decay), that of the token itself exp(k + bonus).
    The gradient is written out: it is such a decaying sum again, from the end, and no step keeps anything.

    Args:
      k_BTA, v_BTA: keys and values.
      decay_A: positive, a token.
      bonus_A: added to the token's own key.
      first_BT: bool, tokens that nothing before them reaches, nor what follows; None: only the row's first.
    """
    return _wkv_forward(k_BTA, v_BTA, decay_A, bonus_A, first_BT)[0]


def _wkv_forward(k_BTA, v_BTA, decay_A, bonus_A, first_BT):
    own_BTA = (v_BTA, jnp.ones_like(v_BTA))
    past = decaying_sums(k_BTA, own_BTA, decay_A, first_BT)
    (total_BTA, weight_BTA), log_BTA = add(past, (own_BTA, k_BTA + bonus_A))
    y_BTA = total_BTA / weight_BTA
    return y_BTA, (k_BTA, v_BTA, decay_A, bonus_A, first_BT, past, y_BTA, weight_BTA, log_BTA)


def _wkv_backward(saved, dy_BTA):
    k_BTA, v_BTA, decay_A, bonus_A, first_BT, ((past_v, past_1), past_log), y_BTA, weight_BTA, log_BTA = saved
    # Looking back from the end, it is the text after it that does not reach a text's last token.
    last_BT = None if first_BT is None else jnp.roll(first_BT, -1, axis=1)
    # Of the quotient's two sums: as the sums are to be scaled by exp(log), their gradients by exp(-log).
    d_total, d_weight = dy_BTA / weight_BTA, -dy_BTA * y_BTA / weight_BTA
    (after_v, after_1), after_log = decaying_sums(
        -log_BTA, (d_total, d_weight), decay_A, last_BT, reverse=True
    )
    from_later, from_own = jnp.exp(k_BTA + after_log), jnp.exp(k_BTA + bonus_A - log_BTA)
    d_bonus_BTA = from_own * (d_total * v_BTA + d_weight)
    dv_BTA = from_later * after_v + from_own * d_total
    dk_BTA = from_later * (after_v * v_BTA + after_1) + d_bonus_BTA
    decayed = jnp.exp(past_log - decay_A + after_log)
    d_decay_BTA = -decayed * (past_v * after_v + past_1 * after_1)
    return dk_BTA, dv_BTA, d_decay_BTA.sum(axis=(0, 1)), d_bonus_BTA.sum(axis=(0, 1)), None


wkv.defvjp(_wkv_forward, _wkv_backward)


@functools.partial(jax.jit, static_argnames="reverse")
def decaying_sums(
    k_BTA: jax.Array,
    values: tuple,
    decay_A: jax.Array,
    cut_BT: jax.Array | None = None,
    reverse: bool = False,
) -> tuple:
    """For every token the scaled sum of what came before it (after it, in reverse).

    A value i ≥ 1 tokens away weighs exp(k - (i-1)·decay). All chunks are walked through at once, then their
    totals in a row: T/CHUNK + CHUNK steps instead of T.

    Args:
      k_BTA: float32, the log of each token's weight.
      values: float32 arrays [B,T,A].
      decay_A: positive, a token.
      cut_BT: bool, tokens whose sum, and those of all further ones, begin anew; None: none do.
      reverse: from the end; static.
    """
    b, t, a = k_BTA.shape
    n = -(-t // CHUNK)

    def chunks(x_BTA: jax.Array, fill: float) -> jax.Array:
        padded = jnp.pad(x_BTA, ((0, 0), (0, n * CHUNK - t), (0, 0)), constant_values=fill)
        return padded.reshape(b, n, CHUNK, -1).transpose(2, 1, 0, 3)

    def walk(tokens: tuple, decay: jax.Array, cuts) -> tuple:
        """Sums of all steps along the first axis, and those before each, whether or not it is cut."""

        def step(past, token_and_cut):
            token, cut = token_and_cut
            return add(later(without(past, cut), decay), token), past

        nothing = (
            jax.tree.map(lambda x: jnp.zeros_like(x[0]), tokens[0]),
            jnp.full_like(tokens[1][0], NOTHING),
        )
        return jax.lax.scan(step, nothing, (tokens, cuts), reverse=reverse)

    tokens = tuple(chunks(value, 0.0) for value in values), chunks(k_BTA, NOTHING)
    cuts = until = cut_chunks = None
    if cut_BT is not None:
        cuts = chunks(cut_BT[..., None], False)
        # Whether the chunk has a cut up to the token.
        until = jax.lax.cumsum(cuts.astype(jnp.int32), axis=0, reverse=reverse) > 0
        cut_chunks = cuts.any(axis=0)
    totals, within = walk(tokens, decay_A, cuts)
    _, (sums, log) = walk(totals, decay_A * CHUNK, cut_chunks)
    passed_C = jnp.arange(CHUNK)[:: -1 if reverse else 1]
    log = log - passed_C[:, None, None, None] * decay_A
    sums, log = add(without(within, cuts), without((sums, log), until))

    def unchunked(x: jax.Array) -> jax.Array:
        return x.transpose(2, 1, 0, 3).reshape(b, n * CHUNK, a)[:, :t]

    return tuple(unchunked(x) for x in sums), unchunked(log)


def wkv_state(
    k_BTA: jax.Array, v_BTA: jax.Array, decay_A: jax.Array, lengths_B: jax.Array
) -> dict[str, jax.Array]:
    """What the recurrence has summed up after each row's `lengths` tokens.

    Args:
      k_BTA, v_BTA: keys and values, float32.
      decay_A: positive, a token.
      lengths_B: int32, real tokens of each row.
    """
    ages_BT1 = (lengths_B[:, None] - 1 - jnp.arange(k_BTA.shape[1]))[..., None]
    log_BTA = jnp.where(ages_BT1 >= 0, k_BTA - ages_BT1 * decay_A, NOTHING)
    log_scale_BA = log_BTA.max(axis=1)
    weights_BTA = jnp.exp(log_BTA - log_scale_BA[:, None])
    sums_BA = (weights_BTA * v_BTA).sum(axis=1)
    return {"sum": sums_BA, "weight": weights_BTA.sum(axis=1), "log_scale": log_scale_BA}
