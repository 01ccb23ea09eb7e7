"""RWKV-7's generalised delta rule, by chunk or by token (Peng et al. 2025).

A head's state S [V,K] (both of its size) becomes S·diag(w) + (S a) bᵀ + v kᵀ at each token, which then reads
S r: it forgets by w, takes out what it knows in the direction -a, and puts in v at k.
"""

import jax
import jax.numpy as jnp
import numpy as np


def delta_rule_step(r, log_w, k, v, a, b, state_BHVK: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One token of the recurrence, float32 [B,H,K]: what is read [B,H,V], and the state after it.

    Args:
      r, log_w, k, v, a, b: receptance, log-decay, key, value, removed and written direction; float32 [B,H,K].
      state_BHVK: float32.
    """
    removed_BHV = (state_BHVK * a[..., None, :]).sum(axis=-1)
    state_BHVK = state_BHVK * jnp.exp(log_w)[..., None, :]
    state_BHVK = state_BHVK + removed_BHV[..., None] * b[..., None, :] + v[..., None] * k[..., None, :]
    return (state_BHVK * r[..., None, :]).sum(axis=-1), state_BHVK


def delta_rule(
    r, log_w, k, v, a, b, chunk: int, first_BT: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """What all tokens read [B,T,H,V] from a state that begins at zero, and the state [B,H,V,K] at the end.

    Arguments are float32 [B,T,H,K]. Within a chunk of C tokens u_t = S_{t-1} a_t solves a triangular system:
    with W_t the product of w up to t, u_t = S_0 W_{t-1} a_t + Σ_{i<t} (u_i b_i + v_i k_i)·(W_{t-1}/W_i) a_t
    (the WY form of Yang et al. 2024). So all is products of matrices but one scan, whose steps take the
    state past a chunk: S ← S·M + N. As no w is below 0.54, W and 1/W are numbers for C ≤ 64.

    Args:
      r, log_w, k, v, a, b: as for `delta_rule_step`, float32 [B,T,H,K].
      chunk: tokens computed at once, at most 64; static.
      first_BT: bool, where the state is zero again before the token is read; None: nowhere.
    """
    t = r.shape[1]
    n = -(-t // chunk)

    def chunks(x_BTHK: jax.Array) -> jax.Array:
        # What is padded neither forgets nor takes out nor puts in.
        padded = jnp.pad(x_BTHK, ((0, 0), (0, n * chunk - t), (0, 0), (0, 0)))
        return padded.reshape(padded.shape[0], n, chunk, *padded.shape[2:]).transpose(0, 3, 1, 2, 4)

    r, log_w, k, v, a, b = (chunks(x) for x in (r, log_w, k, v, a, b))  # [B,H,N,C,K]
    strictly, until = np.tri(chunk, k=-1, dtype=bool), np.tri(chunk, dtype=bool)
    seen = np.block([[strictly, strictly], [until, until]])
    if first_BT is None:
        log_W = jnp.cumsum(log_w, axis=-2)
    else:
        # How often the state was zeroed in the chunk, up to each token: tokens of equal numbers see each
        # other, those of 0 what the chunk began with, and those of the last number end up in the state.
        padded_BT = jnp.pad(first_BT, ((0, 0), (0, n * chunk - t)))
        cuts_BNC = jnp.cumsum(padded_BT.reshape(-1, n, chunk), axis=-1)
        same = jnp.equal(cuts_BNC[..., :, None], cuts_BNC[..., None, :])[:, None]
        seen = seen & jnp.tile(same, (1, 1, 1, 2, 2))
        # Decays since the last cut; differences of those since the chunk's start would let rounding through.
        log_W = product(jnp.where(until & same, 1.0, 0.0), log_w)
    W, inverse_W, W_end = jnp.exp(log_W), jnp.exp(-log_W), jnp.exp(log_W[..., -1:, :])
    kept = W_end  # of the state that the chunk begins with
    a, r = a * jnp.exp(log_W - log_w), r * W
    b, k = b * inverse_W, k * inverse_W

    readers, writers = jnp.concatenate([a, r], axis=-2), jnp.concatenate([b, k], axis=-2)
    if first_BT is not None:
        uncut, last = jnp.equal(cuts_BNC, 0)[:, None, :, :, None], same[..., -1, :, None]
        a, r, b, k, kept = a * uncut, r * uncut, b * last, k * last, W_end * uncut[..., -1:, :]
    scores = jnp.where(seen, product(readers, writers.swapaxes(-1, -2)), 0.0)
    a_b, r_b = scores[..., :chunk, :chunk], scores[..., chunk:, :chunk]
    of_values = product(scores[..., chunk:], v)  # what readers find of the chunk's own values

    # Columns of u and of what is read: first what they are at S = 0, then their dependence on S.
    u_0, y_0 = of_values[..., :chunk, :], of_values[..., chunk:, :]
    u = product(inverse(a_b), jnp.concatenate([u_0, a], axis=-1))
    y = jnp.concatenate([y_0, r], axis=-1) + product(r_b, u)
    size = v.shape[-1]
    edits = product(u.swapaxes(-1, -2), b * W_end)
    put_in = product(v.swapaxes(-1, -2), k * W_end)
    N, M = edits[..., :size, :] + put_in, edits[..., size:, :] + kept * jnp.eye(size)

    def step(state_BHVK, of_chunk):
        N_BHVK, M_BHKK = of_chunk
        return product(state_BHVK, M_BHKK) + N_BHVK, state_BHVK

    across = (jnp.moveaxis(N, 2, 0), jnp.moveaxis(M, 2, 0))
    state_BHVK, states = jax.lax.scan(step, jnp.zeros_like(N[:, :, 0]), across)
    y = y[..., :size] + product(y[..., size:], jnp.moveaxis(states, 0, 2).swapaxes(-1, -2))
    y_BTHV = y.transpose(0, 2, 3, 1, 4).reshape(y.shape[0], n * chunk, y.shape[1], size)
    return y_BTHV[:, :t], state_BHVK


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """x @ y in full float32 on every device: errors in a state stay in it."""
    return jnp.matmul(x, y, precision="highest")


@jax.custom_vjp
def inverse(a: jax.Array) -> jax.Array:
    """(I - a)⁻¹ of strictly lower triangular matrices [..., C,C].

    From the inverses of blocks on the diagonal to those of blocks twice as large, until one is left; unlike a
    product of powers of `a` it does not cancel, so it keeps its precision where keys repeat.
    """
    rows, columns = np.indices(a.shape[-2:])
    x, size = jnp.eye(a.shape[-1]) + jnp.where((rows == columns + 1) & (rows % 2 == 1), a, 0.0), 2
    while size < a.shape[-1]:
        between = (rows // size % 2 == 1) & (columns // size == rows // size - 1)
        x = x + product(product(x, jnp.where(between, a, 0.0)), x)
        size *= 2
    return x


def _inverse_forward(a: jax.Array):
    x = inverse(a)
    return x, x


def _inverse_backward(x: jax.Array, dx: jax.Array):
    transposed = x.swapaxes(-1, -2)
    return (product(product(transposed, dx), transposed),)


inverse.defvjp(_inverse_forward, _inverse_backward)
