"""Several processes that train one run together (`jax.distributed`): who writes, and what they agree on."""

from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils


def is_primary() -> bool:
    """Whether this process is the one that writes what only one may write."""
    return jax.process_index() == 0


def coordination_client() -> Any:
    """The client of jax's coordination service: key_value_set, blocking_key_value_get, wait_at_barrier, …

    jax itself shows it to nobody; orbax, which is released for every version of jax, does.

    Raises:
      ValueError: `jax.distributed.initialize` has not been called.
    """
    return ocp.multihost.get_jax_distributed_client()


def all_gather(numbers: np.ndarray) -> np.ndarray:
    """The numbers [n] of each process, [processes, n], the same on all; all must call this together."""
    if jax.process_count() == 1:
        return numbers[None]
    with jax.transfer_guard("allow"):
        return np.asarray(multihost_utils.process_allgather(numbers))
