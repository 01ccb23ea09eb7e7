"""Where choices go: slots, an expert's one after the other, and blocks of slots that share an expert."""

import jax
import jax.numpy as jnp


def places(choice_NK: jax.Array, n_experts: int) -> tuple[jax.Array, jax.Array]:
    """[N,K]: how many choices of earlier tokens went to the expert of this one; [E]: how many of all do."""
    chosen_NKE = jax.nn.one_hot(choice_NK, n_experts, dtype=jnp.int32)
    until_NKE = jnp.cumsum(chosen_NKE.sum(axis=1), axis=0)[:, None]
    return (until_NKE * chosen_NKE).sum(-1) - 1, until_NKE[-1, 0]


def sources(slot_NK: jax.Array, n_slots: int) -> jax.Array:
    """[S]: the choice n·K + k in each slot, N·K in empty ones; slots beyond the last are dropped."""
    n_choices = slot_NK.size
    empty_S = jnp.full(n_slots, n_choices)
    return empty_S.at[slot_NK.reshape(-1)].set(jnp.arange(n_choices), mode="drop")


def weights_of(weight_NK: jax.Array, source_S: jax.Array) -> jax.Array:
    """[S]: the weight of the choice in each slot, 0 where there is none."""
    return weight_NK.reshape(-1).at[source_S].get(mode="fill", fill_value=0)


@jax.custom_vjp
def send(x_ND: jax.Array, source_S: jax.Array, slot_NK: jax.Array) -> jax.Array:
    """[S,D]: the token in each slot, zeros in empty ones.

    Backwards it is `collect` and that one is this, so neither direction has to scatter.
    """
    return x_ND.at[source_S // slot_NK.shape[1]].get(mode="fill", fill_value=0)


@jax.custom_vjp
def collect(y_SD: jax.Array, source_S: jax.Array, slot_NK: jax.Array) -> jax.Array:
    """[N,D]: the sum of each token's slots; dropped choices add nothing."""
    return y_SD.at[slot_NK].get(mode="fill", fill_value=0).sum(axis=1)


send.defvjp(lambda x, *maps: (send(x, *maps), maps), lambda maps, d_SD: (collect(d_SD, *maps), None, None))
collect.defvjp(lambda y, *maps: (collect(y, *maps), maps), lambda maps, d_ND: (send(d_ND, *maps), None, None))


def owners(load_E: jax.Array, size: int, n_blocks: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The expert of each block [X], the first block of each expert [E], and how many blocks are used.

    Args:
      load_E: int32, choices of each expert, which begin a block of their own.
      size: slots of a block.
      n_blocks: X, enough for all; those that are not used have the last expert.
    """
    blocks_E = -(-load_E // size)
    end_E = jnp.cumsum(blocks_E)
    owner_X = (jnp.arange(n_blocks)[:, None] >= end_E).sum(axis=1).clip(max=len(load_E) - 1)
    return owner_X, end_E - blocks_E, end_E[-1]
