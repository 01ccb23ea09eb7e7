"""RWKV-7's generalised delta rule, by chunk or by token (Peng et al. 2025).

A head's state S [V,K] (both of its size) becomes S·diag(w) + (S a) bᵀ + v kᵀ at each token, which then reads
S r: it forgets by w, takes out what it knows in the direction -a, and puts in v at k.
"""

import jax
import jax.numpy as jnp
import numpy as np


def delta_rule_step(
    r_BHK: jax.Array,
    log_w_BHK: jax.Array,
    k_BHK: jax.Array,
    v_BHV: jax.Array,
    a_BHK: jax.Array,
    b_BHK: jax.Array,
    state_BHVK: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """One token of the recurrence, all float32: what is read [B,H,V], and the state after it.

    Args:
      r_BHK, log_w_BHK: receptance, log-decay.
      k_BHK, v_BHV: key, value.
      a_BHK, b_BHK: removed and written direction.
      state_BHVK: before the token.
    """
    removed_BHV = (state_BHVK * a_BHK[..., None, :]).sum(axis=-1)
    state_BHVK = state_BHVK * jnp.exp(log_w_BHK)[..., None, :]
    written_BHVK = removed_BHV[..., None] * b_BHK[..., None, :]
    state_BHVK = state_BHVK + written_BHVK + v_BHV[..., None] * k_BHK[..., None, :]
    return (state_BHVK * r_BHK[..., None, :]).sum(axis=-1), state_BHVK


def delta_rule(
    r_BTHK: jax.Array,
    log_w_BTHK: jax.Array,
    k_BTHK: jax.Array,
    v_BTHV: jax.Array,
    a_BTHK: jax.Array,
    b_BTHK: jax.Array,
    chunk: int,
    first_BT: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """What all tokens read [B,T,H,V] from a state that begins at zero, and the state [B,H,V,K] at the end.

    Within a chunk of C tokens u_t = S_{t-1} a_t solves a triangular system: with W_t the product of w up to
    t, u_t = S_0 W_{t-1} a_t + Σ_{i<t} (u_i b_i + v_i k_i)·(W_{t-1}/W_i) a_t (the WY form of Yang et al.
    2024). So all is products of matrices but one scan, whose steps take the state past a chunk:
    S ← S·M + N. As no w is below 0.54, W and 1/W are numbers for C ≤ 64. In the suffixes N counts chunks,
    and R the C readers a followed by the C readers r, or the writers b and k.

    Args:
      r_BTHK, log_w_BTHK, k_BTHK, v_BTHV, a_BTHK, b_BTHK: as for `delta_rule_step`, float32, of every token.
      chunk: tokens computed at once, at most 64; static.
      first_BT: bool, where the state is zero again before the token is read; None: nowhere.
    """
    t = r_BTHK.shape[1]
    n = -(-t // chunk)

    def chunks(x_BTHK: jax.Array) -> jax.Array:
        # What is padded neither forgets nor takes out nor puts in.
        padded = jnp.pad(x_BTHK, ((0, 0), (0, n * chunk - t), (0, 0), (0, 0)))
        return padded.reshape(padded.shape[0], n, chunk, *padded.shape[2:]).transpose(0, 3, 1, 2, 4)

    r_BHNCK, log_w_BHNCK, k_BHNCK, v_BHNCV, a_BHNCK, b_BHNCK = (
        chunks(x_BTHK) for x_BTHK in (r_BTHK, log_w_BTHK, k_BTHK, v_BTHV, a_BTHK, b_BTHK)
    )
    strictly_CC, until_CC = np.tri(chunk, k=-1, dtype=bool), np.tri(chunk, dtype=bool)
    seen_RR = np.block([[strictly_CC, strictly_CC], [until_CC, until_CC]])
    if first_BT is None:
        log_W_BHNCK = jnp.cumsum(log_w_BHNCK, axis=-2)
    else:
        # How often the state was zeroed in the chunk, up to each token: tokens of equal numbers see each
        # other, those of 0 what the chunk began with, and those of the last number end up in the state.
        padded_BT = jnp.pad(first_BT, ((0, 0), (0, n * chunk - t)))
        cuts_BNC = jnp.cumsum(padded_BT.reshape(-1, n, chunk), axis=-1)
        same_B1NCC = jnp.equal(cuts_BNC[..., :, None], cuts_BNC[..., None, :])[:, None]
        seen_RR = seen_RR & jnp.tile(same_B1NCC, (1, 1, 1, 2, 2))  # [B,1,N,R,R]
        # Decays since the last cut; differences of those since the chunk's start would let rounding through.
        log_W_BHNCK = product(jnp.where(until_CC & same_B1NCC, 1.0, 0.0), log_w_BHNCK)
    W_BHNCK, inverse_W_BHNCK = jnp.exp(log_W_BHNCK), jnp.exp(-log_W_BHNCK)
    W_end_BHN1K = jnp.exp(log_W_BHNCK[..., -1:, :])
    kept_BHN1K = W_end_BHN1K  # of the state that the chunk begins with
    a_BHNCK, r_BHNCK = a_BHNCK * jnp.exp(log_W_BHNCK - log_w_BHNCK), r_BHNCK * W_BHNCK
    b_BHNCK, k_BHNCK = b_BHNCK * inverse_W_BHNCK, k_BHNCK * inverse_W_BHNCK

    readers_BHNRK = jnp.concatenate([a_BHNCK, r_BHNCK], axis=-2)
    writers_BHNRK = jnp.concatenate([b_BHNCK, k_BHNCK], axis=-2)
    if first_BT is not None:
        uncut_B1NC1 = jnp.equal(cuts_BNC, 0)[:, None, :, :, None]
        last_B1NC1 = same_B1NCC[..., -1, :, None]
        a_BHNCK, r_BHNCK = a_BHNCK * uncut_B1NC1, r_BHNCK * uncut_B1NC1
        b_BHNCK, k_BHNCK = b_BHNCK * last_B1NC1, k_BHNCK * last_B1NC1
        kept_BHN1K = W_end_BHN1K * uncut_B1NC1[..., -1:, :]
    scores_BHNRR = jnp.where(seen_RR, product(readers_BHNRK, writers_BHNRK.swapaxes(-1, -2)), 0.0)
    a_b_BHNCC, r_b_BHNCC = scores_BHNRR[..., :chunk, :chunk], scores_BHNRR[..., chunk:, :chunk]
    of_values_BHNRV = product(scores_BHNRR[..., chunk:], v_BHNCV)  # what readers find of the chunk's own

    # Columns U of u and of what is read: V for what they are at S = 0, then K for how they depend on S.
    u_0_BHNCV, y_0_BHNCV = of_values_BHNRV[..., :chunk, :], of_values_BHNRV[..., chunk:, :]
    u_BHNCU = product(inverse(a_b_BHNCC), jnp.concatenate([u_0_BHNCV, a_BHNCK], axis=-1))
    y_BHNCU = jnp.concatenate([y_0_BHNCV, r_BHNCK], axis=-1) + product(r_b_BHNCC, u_BHNCU)
    size = v_BHNCV.shape[-1]
    edits_BHNUK = product(u_BHNCU.swapaxes(-1, -2), b_BHNCK * W_end_BHN1K)
    put_in_BHNVK = product(v_BHNCV.swapaxes(-1, -2), k_BHNCK * W_end_BHN1K)
    N_BHNVK = edits_BHNUK[..., :size, :] + put_in_BHNVK
    M_BHNKK = edits_BHNUK[..., size:, :] + kept_BHN1K * jnp.eye(size)

    def step(state_BHVK, of_chunk):
        N_BHVK, M_BHKK = of_chunk
        return product(state_BHVK, M_BHKK) + N_BHVK, state_BHVK

    across = (jnp.moveaxis(N_BHNVK, 2, 0), jnp.moveaxis(M_BHNKK, 2, 0))
    state_BHVK, states_NBHVK = jax.lax.scan(step, jnp.zeros_like(N_BHNVK[:, :, 0]), across)
    states_BHNKV = jnp.moveaxis(states_NBHVK, 0, 2).swapaxes(-1, -2)
    y_BHNCV = y_BHNCU[..., :size] + product(y_BHNCU[..., size:], states_BHNKV)
    n_rows, n_heads = y_BHNCV.shape[:2]
    y_BTHV = y_BHNCV.transpose(0, 2, 3, 1, 4).reshape(n_rows, n * chunk, n_heads, size)
    return y_BTHV[:, :t], state_BHVK


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """x @ y in full float32 on every device: errors in a state stay in it."""
    return jnp.matmul(x, y, precision="highest")


@jax.custom_vjp
def inverse(a_XCC: jax.Array) -> jax.Array:
    """(I - a)⁻¹ of strictly lower triangular matrices [..., C,C].

    From the inverses of blocks on the diagonal to those of blocks twice as large, until one is left; unlike a
    product of powers of `a` it does not cancel, so it keeps its precision where keys repeat.
    """
    rows_CC, columns_CC = np.indices(a_XCC.shape[-2:])
    below_CC = (rows_CC == columns_CC + 1) & (rows_CC % 2 == 1)
    x_XCC, size = jnp.eye(a_XCC.shape[-1]) + jnp.where(below_CC, a_XCC, 0.0), 2
    while size < a_XCC.shape[-1]:
        between_CC = (rows_CC // size % 2 == 1) & (columns_CC // size == rows_CC // size - 1)
        x_XCC = x_XCC + product(product(x_XCC, jnp.where(between_CC, a_XCC, 0.0)), x_XCC)
        size *= 2
    return x_XCC


def _inverse_forward(a_XCC: jax.Array):
    x_XCC = inverse(a_XCC)
    return x_XCC, x_XCC


def _inverse_backward(x_XCC: jax.Array, dx_XCC: jax.Array):
    transposed_XCC = x_XCC.swapaxes(-1, -2)
    return (product(product(transposed_XCC, dx_XCC), transposed_XCC),)


inverse.defvjp(_inverse_forward, _inverse_backward)
