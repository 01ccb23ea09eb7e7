"""One line a tensor: its name in a Hugging Face checkpoint, where we keep it, how each becomes the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """A tensor of theirs, or one for every layer ("{layer}" in the name) and every expert ("{expert}").

    `paths` are where its parts lie in our parameters, joined by slashes: one, or several where a tensor of
    theirs holds several of ours (GPT-2's fused queries, keys and values). Where the name has "{layer}" our
    arrays have a leading layer axis, then for "{expert}" one of experts; both functions see one layer's (and
    expert's) slice, without those axes. They are numpy arrays, and what comes back may be views.
    Layers before `first_layer` have no such tensor; our slices of those stay zero. `layers` are the numbers
    of the layers along our axis; None: of all.
    """

    name: str
    paths: tuple[str, ...]
    ours: Callable[[Any], tuple]  # their tensor, float32 -> our arrays, in the order of paths
    theirs: Callable[..., Any]  # our arrays, in the order of paths -> their tensor
    first_layer: int = 0
    layers: tuple[int, ...] | None = None


def same(name: str, path: str) -> Entry:
    """A tensor that both keep alike."""
    return Entry(name, (path,), lambda theirs: (theirs,), lambda ours: ours)


def reshaped(name: str, path: str, theirs: Shape, ours: Shape) -> Entry:
    """A tensor of shape `theirs` there and `ours` here, in the same order.

    Args:
      name, path: the tensor's name there, the parameter's here.
      theirs, ours: shapes without those of layers and experts.
    """
    return Entry(name, (path,), lambda t: (t.reshape(ours),), lambda o: o.reshape(theirs))


def linear(name: str, path: str, inputs: Shape, outputs: Shape) -> Entry:
    """A matrix that they keep as [out, in] and we as [*inputs, *outputs].

    Args:
      name, path: the tensor's name there, the parameter's here.
      inputs, outputs: shapes of the parameter's two sides.
    """
    n_in, n_out = math.prod(inputs), math.prod(outputs)
    return Entry(
        name,
        (path,),
        lambda theirs: (theirs.T.reshape(*inputs, *outputs),),
        lambda ours: ours.reshape(n_in, n_out).T,
    )


def of_stack(entries: list[Entry], stack: str, layers: tuple[int, ...]) -> list[Entry]:
    """The entries of blocks as those of a stack of our parameters that has just some of the layers."""
    return [
        replace(
            entry, paths=tuple(path.replace("blocks/", f"{stack}/", 1) for path in entry.paths), layers=layers
        )
        for entry in entries
        if "{layer}" in entry.name
    ]
