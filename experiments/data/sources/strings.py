"""Random strings with their copies or reversals: the task of remembering all of a source, in order."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

START = 0  # starts the target, and fills up rows; symbols are 1, 2, …
Task = Literal["reverse", "copy"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pairs:
    """Right-padded sources and targets, int32; the mask is true at symbols."""

    source_BS: jax.Array
    target_BS: jax.Array
    mask_BS: jax.Array

    @property
    def inputs_BS(self) -> jax.Array:
        """What the decoder reads: START, then the target but for its last symbol."""
        return jnp.pad(self.target_BS, ((0, 0), (1, 0)), constant_values=START)[:, :-1]


def draw_pairs(key: jax.Array, task: Task, lengths_B: jax.Array, width: int, n_symbols: int) -> Pairs:
    """Uniformly random sources with their copies or reversals.

    Args:
      key: of the draw.
      task: whether the target is a copy of the source or its reversal.
      lengths_B: int32[B], symbols of each source, at most `width`.
      width: S, the length of the rows.
      n_symbols: symbols are 1, 2, …, n_symbols.
    """
    source_BS = jax.random.randint(key, (len(lengths_B), width), 1, n_symbols + 1)
    place_S, ends_B1 = jnp.arange(width), lengths_B[:, None]
    mask_BS = place_S < ends_B1
    source_BS = jnp.where(mask_BS, source_BS, START)
    if task == "copy":
        return Pairs(source_BS, source_BS, mask_BS)
    from_BS = jnp.maximum(ends_B1 - 1 - place_S, 0)
    target_BS = jnp.where(mask_BS, jnp.take_along_axis(source_BS, from_BS, axis=1), START)
    return Pairs(source_BS, target_BS, mask_BS)
