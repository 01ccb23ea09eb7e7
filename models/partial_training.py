"""Training a part of the parameters, chosen by patterns of their paths."""

import difflib
import fnmatch
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

Tree = dict[str, Any]


def split(params: Tree, *patterns: str) -> tuple[Tree, Tree]:
    """(trainable, frozen): the parameters whose path matches one of the patterns, and the others.

    A path is the tree's keys joined by slashes, such as "blocks/attention/w_q"; `*` matches any characters,
    slashes as well, `?` one, `[abc]` one of these. Give the optimizer the first tree and the network
    `join(trainable, frozen)`: what the optimizer never sees, decay and momentum cannot move.

    Raises:
      ValueError: a pattern that matches nothing.
    """
    chosen, by_path = matching(params, *patterns), leaves(params)
    trainable = {path: leaf for path, leaf in by_path.items() if path in chosen}
    frozen = {path: leaf for path, leaf in by_path.items() if path not in chosen}
    return unflatten_dict(trainable), unflatten_dict(frozen)


def join(trainable: Tree, frozen: Tree) -> Tree:
    """The whole tree from its two parts."""
    return unflatten_dict(leaves(trainable) | leaves(frozen))


def leaves(tree: Tree) -> dict[tuple, Any]:
    """The leaves of a nested dict by their paths, tuples of keys."""
    return flatten_dict(tree)  # type: ignore[return-value]


def matching(tree: Tree, *patterns: str) -> set[tuple]:
    """The paths of the leaves that a pattern of `split` matches; raises as it does."""
    paths = {"/".join(map(str, path)): path for path in leaves(tree)}
    found = {pattern: fnmatch.filter(paths, pattern) for pattern in patterns}
    for pattern, names in found.items():
        if not names:
            near = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.0)
            raise ValueError(f"parameters: no path matches {pattern!r}; near it are {', '.join(near)}")
    return {paths[name] for names in found.values() for name in names}
