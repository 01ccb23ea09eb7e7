"""Recurrent cells, GRU and LSTM, and the pass of one through all tokens with its gradient written out."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from models.configs.layers import CELL_SIZES
from models.sharding import constrain

State = tuple[jax.Array, ...]  # hidden state first; float32, each [B,D]


def gru(state: State, x_gates: jax.Array, h_gates: jax.Array) -> State:
    """One step of the gated recurrent unit (Cho et al. 2014) from what the input and the state before say.

    Gates in order: update, reset, candidate. The reset gate follows the product with the state, as in cuDNN,
    so that one matrix product serves all three.
    """
    (h,) = state
    x_update, x_reset, x_new = jnp.split(x_gates.astype(jnp.float32), 3, axis=-1)
    h_update, h_reset, h_new = jnp.split(h_gates.astype(jnp.float32), 3, axis=-1)
    update = jax.nn.sigmoid(x_update + h_update)
    new = jnp.tanh(x_new + jax.nn.sigmoid(x_reset + h_reset) * h_new)
    return (update * h + (1 - update) * new,)


def lstm(state: State, x_gates: jax.Array, h_gates: jax.Array) -> State:
    """One step of long short-term memory (Hochreiter & Schmidhuber 1997; forget gate by Gers et al. 2000).

    Gates in order: input, forget, candidate, output.
    """
    gates = x_gates.astype(jnp.float32) + h_gates.astype(jnp.float32)
    enter, keep, new, leave = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(keep) * state[1] + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(c), c


# The step, its gates, the arrays of its state.
CELLS: dict[str, tuple[Callable, int, int]] = {
    name: (step, *CELL_SIZES[name]) for name, step in (("gru", gru), ("lstm", lstm))
}


def advance(cell: Callable, state: State, x_gates, h_gates, mask_B) -> State:
    """The state after one more token; where the mask is false it stays what it was.

    Args:
      cell: of `CELLS`.
      state: float32 arrays [B,D].
      x_gates, h_gates: shares of the input and of the state in the gates, [B,G] with G = gates · D.
      mask_B: bool.
    """
    after = cell(state, x_gates, h_gates)
    return tuple(jnp.where(mask_B[:, None], new, old) for new, old in zip(after, state))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(cell: Callable, state: State, x_gates_TBG: jax.Array, mask_TB: jax.Array, w_DG: jax.Array) -> State:
    """The states [T,B,D] after every token.

    The gradient is written out so that the recurrent matrix gets its own in one product over all steps,
    instead of a sum that is read and written at every step; and, as in `layers.linear.matmul`, so that no
    copy of the matrix in the compute type is kept.

    Args:
      cell: of `CELLS`; static.
      state: the first, float32 arrays [B,D].
      x_gates_TBG: the input's share in the gates, with G = gates · D, in the compute type.
      mask_TB: bool; false leaves the state as it was.
      w_DG: the recurrent matrix, float32.
    """
    return _recur_forward(cell, state, x_gates_TBG, mask_TB, w_DG)[0]


def _recurrent_matrix(w_DG: jax.Array, dtype) -> jax.Array:
    # Steps follow each other, so their matrix may not lie on several devices.
    return constrain(w_DG.astype(dtype), None, None)


def _recur_forward(cell, state, x_gates_TBG, mask_TB, w_DG):
    matrix_DG = _recurrent_matrix(w_DG, x_gates_TBG.dtype)

    def step(state, inputs):
        x_gates, mask_B = inputs
        h_gates = state[0].astype(matrix_DG.dtype) @ matrix_DG
        state = advance(cell, state, x_gates, h_gates, mask_B)
        return state, (state, h_gates)

    _, (states, h_gates_TBG) = jax.lax.scan(step, state, (x_gates_TBG, mask_TB))
    return states, (state, states, x_gates_TBG, h_gates_TBG, mask_TB, w_DG)


def _recur_backward(cell, saved, d_states):
    state, states, x_gates_TBG, h_gates_TBG, mask_TB, w_DG = saved
    matrix_DG = _recurrent_matrix(w_DG, x_gates_TBG.dtype)
    before = tuple(jnp.concatenate([first[None], each[:-1]]) for first, each in zip(state, states))

    def step(d_state, inputs):
        state, x_gates, h_gates, mask_B, d_out = inputs
        _, pull = jax.vjp(lambda s, x, h: advance(cell, s, x, h, mask_B), state, x_gates, h_gates)
        (d_h, *d_rest), d_x_gates, d_h_gates = pull(tuple(map(jnp.add, d_state, d_out)))
        return (d_h + d_h_gates @ matrix_DG.T, *d_rest), (d_x_gates, d_h_gates)

    inputs = (before, x_gates_TBG, h_gates_TBG, mask_TB, d_states)
    nothing = tuple(map(jnp.zeros_like, state))
    d_state, (d_x_gates_TBG, d_h_gates_TBG) = jax.lax.scan(step, nothing, inputs, reverse=True)
    rows = ((0, 1), (0, 1))
    d_matrix_DG = jax.lax.dot_general(before[0].astype(matrix_DG.dtype), d_h_gates_TBG, (rows, ((), ())))
    return d_state, d_x_gates_TBG, None, d_matrix_DG.astype(w_DG.dtype)


recur.defvjp(_recur_forward, _recur_backward)
