"""How the arrays of a traced program lie on a mesh: into how many parts each dimension is divided.

A program says so of few arrays (its arguments, `with_sharding_constraint`, `shard_map`); of the others it
follows from what they are computed from, as the partitioner of the compiler has it, too.
"""

import math
from collections.abc import Sequence
from typing import Any

Layout = tuple[int, ...]


def laid_out(shape: Sequence[int], sharding: Any) -> Layout:
    """The layout of an array of this shape by a sharding; whole without one."""
    if not hasattr(sharding, "shard_shape"):
        return (1,) * len(shape)
    return tuple(n // max(1, part) for n, part in zip(shape, sharding.shard_shape(tuple(shape))))


def whole(atom: Any) -> Layout:
    """Of a variable or literal that is whole on every device."""
    return (1,) * len(atom.aval.shape)


def finer(one: Layout, other: Layout) -> Layout:
    """That in more parts."""
    return max(one, other, key=math.prod)


def inside(layout: Layout, spec: Any, mesh: Any) -> Layout:
    """How what a device gets of an array by the spec of a `shard_map` lies along the other axes."""
    return tuple(n // m if n % m == 0 else 1 for n, m in zip(layout, _parts(spec, len(layout), mesh)))


def outside(layout: Layout, spec: Any, mesh: Any) -> Layout:
    """How the array lies of which each device made a part, laid out so along other axes."""
    return tuple(n * m for n, m in zip(layout, _parts(spec, len(layout), mesh)))


def _parts(spec: Any, n_dims: int, mesh: Any) -> Layout:
    axes = [(axis,) if isinstance(axis, str) else axis or () for axis in spec]
    sizes = [math.prod(mesh.shape[axis] for axis in several) for several in axes]
    return (*sizes, *(1,) * (n_dims - len(sizes)))


def of_results(equation: Any, operands: Sequence[Layout]) -> list[Layout]:
    """Layouts of what an equation of a jaxpr makes of operands that lie so."""
    kind, of = equation.primitive.name, equation.params
    shapes = [atom.aval.shape for atom in equation.invars]
    outs = [var.aval.shape for var in equation.outvars]
    if kind == "sharding_constraint":
        return [laid_out(outs[0], of["sharding"])]
    if kind == "dot_general":
        return [_product(of["dimension_numbers"], *operands)]
    if kind == "transpose":
        return [tuple(operands[0][i] for i in of["permutation"])]
    if kind == "broadcast_in_dim":
        layout = [1] * len(outs[0])
        for i, to in enumerate(of["broadcast_dimensions"]):
            layout[to] = operands[0][i] if shapes[0][i] == outs[0][to] else 1
        return [tuple(layout)]
    if kind == "reshape":
        return [_reshaped(shapes[0], operands[0], outs[0])]
    if kind == "squeeze":
        return [tuple(n for i, n in enumerate(operands[0]) if i not in of["dimensions"])]
    if "axes" in of and kind.startswith(("reduce_", "arg")):
        return [tuple(n for i, n in enumerate(operands[0]) if i not in of["axes"]) for _ in outs]
    if kind == "gather":
        return [_gathered(of, shapes[0], *operands[:2], n_dims=len(outs[0]))]
    if kind.startswith("scatter"):
        numbers, layout = of["dimension_numbers"], list(operands[0])
        for i, j in zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims):
            layout[i] = max(layout[i], operands[1][j])
        return [tuple(layout)]
    return [_like(out, shapes, operands) for out in outs]


def _like(out: Sequence[int], shapes: Sequence[Any], operands: Sequence[Layout]) -> Layout:
    """That of the operand in most parts, in the dimensions that are as long as the result's; of operands with
    other dimensions the first ones count."""
    best: Layout = (1,) * len(out)
    for same_rank in (True, False):
        for shape, layout in zip(shapes, operands):
            if (len(shape) == len(out)) == same_rank:
                found = [n if a == b else 1 for n, a, b in zip(layout, shape, out)]
                if not same_rank:  # from the first dimension that differs on nothing is known
                    alike = next((i for i, (a, b) in enumerate(zip(shape, out)) if a != b), len(found))
                    found = found[:alike]
                best = finer(best, (*found, *(1,) * (len(out) - len(found))))
        if math.prod(best) > 1:
            break
    return best


def _product(numbers: Any, left: Layout, right: Layout) -> Layout:
    (left_sum, right_sum), (left_batch, right_batch) = numbers
    batch = [max(left[i], right[j]) for i, j in zip(left_batch, right_batch)]
    rest = [n for i, n in enumerate(left) if i not in (*left_sum, *left_batch)]
    return (*batch, *rest, *(n for i, n in enumerate(right) if i not in (*right_sum, *right_batch)))


def _reshaped(shape: Sequence[int], layout: Layout, out: Sequence[int]) -> Layout:
    """Dimensions that become one, or come of one, are in as many parts together; the first takes them."""
    found, i = [1] * len(out), 0
    for j in range(len(out)):
        if i == len(shape):
            break
        first, n, size, parts = j, out[j], shape[i], layout[i]
        if math.prod(out[:j]) != math.prod(shape[:i]):
            continue  # within a dimension that is split
        while n > size and i + 1 < len(shape):
            i += 1
            size, parts = size * shape[i], parts * layout[i]
        found[first] = math.gcd(parts, n) if n else 1
        i += 1
    return tuple(found)


def _gathered(of: Any, shape: Sequence[int], operand: Layout, indices: Layout, n_dims: int) -> Layout:
    numbers, sizes = of["dimension_numbers"], of["slice_sizes"]
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = iter(operand[i] if sizes[i] == shape[i] else 1 for i in range(len(shape)) if i not in dropped)
    rows = iter(indices[:-1])
    return tuple(next(kept) if i in numbers.offset_dims else next(rows) for i in range(n_dims))
