"""Layers of a few kinds, run by one scan: the program does not grow with their number."""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models.configs.transformer import LayerKind
from models.parameters import Params
from models.sharding import platform

UNROLLED = 8  # most layers that are compiled one by one for a CPU


def scan_layers(block: Callable, x: jax.Array, params: Params, kinds: tuple[LayerKind, ...]) -> tuple:
    """Runs x through all layers: `block(kind, x, layer) -> (x, out)`.

    Returns x and the outs, stacked, of every group of layers; `out_of` finds a layer's. One scan runs whole
    cycles of kinds (`cycle_of`); not in it are layers before them and those of a cycle that is cut short.
    On one CPU few layers are unrolled: 2 to 10 % of a training step are copies into and out of the loop.

    Args:
      block: one layer of a kind.
      x: the stream into the first layer, [B,T,D].
      params: by stack, leaves [layers of that stack,…].
      kinds: of all layers; static.
    """
    (first, period), rows = cycle_of(kinds), rows_in_stacks(kinds)
    n_cycles = (len(kinds) - first) // period

    def layer(i: int) -> Params:
        return jax.tree.map(lambda leaf: leaf[rows[i]], params[kinds[i].stack])

    def every_cycle(i: int) -> Params:
        """Layers i, i + period, …"""
        step = rows[i + period] - rows[i] if n_cycles > 1 else 1
        end = rows[i] + step * (n_cycles - 1) + 1
        return jax.tree.map(lambda leaf: leaf[rows[i] : end : step], params[kinds[i].stack])

    def cycle(x, layers):
        outs = []
        for kind, each in zip(kinds[first : first + period], layers):
            x, out = block(kind, x, each)
            outs.append(out)
        return x, outs

    outs = []
    for i in range(first):
        x, out = block(kinds[i], x, layer(i))
        outs.append(jax.tree.map(lambda one: one[None], out))
    # Apart by kind: what a layer reads is then what the scan was given, and not kept for the backward pass.
    alone = jax.sharding.get_abstract_mesh().empty  # on a mesh a loop holds what is gathered of one layer
    unroll = alone and platform() == "cpu" and len(kinds) <= UNROLLED
    cycles = [every_cycle(i) for i in range(first, first + period)]
    x, scanned = jax.lax.scan(cycle, x, cycles, unroll=unroll)
    outs += scanned
    for i in range(first + n_cycles * period, len(kinds)):
        x, out = block(kinds[i], x, layer(i))
        group = first + (i - first) % period
        outs[group] = jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), outs[group], out)
    return x, outs


def out_of(outs: list, kinds: tuple[LayerKind, ...], i: int) -> Any:
    """What layer i gave, of the outs of `scan_layers`."""
    first, period = cycle_of(kinds)
    group, row = (i, 0) if i < first else (first + (i - first) % period, (i - first) // period)
    return jax.tree.map(lambda leaf: leaf[row], outs[group])


@functools.cache
def cycle_of(kinds: tuple[LayerKind, ...]) -> tuple[int, int]:
    """(first, period): from layer `first` on kinds repeat after `period` layers; the least sum of both."""
    for n in range(1, len(kinds) + 1):
        for first in range(n):
            period = n - first
            if all(kinds[i] == kinds[i - period] for i in range(n, len(kinds))):
                return first, period
    raise ValueError("a network without layers")


def rows_in_stacks(kinds: tuple[LayerKind, ...]) -> list[int]:
    """Of every layer, how many before it are in its stack."""
    seen: Counter[str] = Counter()
    rows = []
    for kind in kinds:
        rows.append(seen[kind.stack])
        seen[kind.stack] += 1
    return rows
