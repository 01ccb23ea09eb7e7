"""Programs that run once or a few times, compiled without most optimizations, which take most of the time."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
