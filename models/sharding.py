"""Where arrays live: logical axis names on one side, the axes of the device mesh on the other."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from models.layers import Axes

# The mesh axes over which a logical axis is spread, in order. Parameters: embed, heads, kv_heads, mlp, vocab,
# experts; activations: batch, length. Names that are not here stay whole.
RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp", "expert"),
    "length": ("sequence",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
    "experts": ("expert",),
}
MESH_AXES = ("data", "fsdp", "tensor", "expert", "sequence")


def make_mesh(shape: dict[str, int], devices: Any = None) -> Mesh:
    """A mesh with the sizes given by axis name, 1 for the others.

    Raises:
      ValueError: an unknown axis, or sizes whose product is not the number of devices.
    """
    for name in shape:
        if name not in MESH_AXES:
            raise ValueError(f"mesh: no axis {name!r}; there are {', '.join(MESH_AXES)}")
    devices = jax.devices() if devices is None else devices
    sizes = tuple(shape.get(name, 1) for name in MESH_AXES)
    n = 1
    for size in sizes:
        n *= size
    if n != len(devices):
        raise ValueError(f"mesh: {shape} needs {n} devices and there are {len(devices)}")
    types = (jax.sharding.AxisType.Auto,) * len(MESH_AXES)
    return jax.make_mesh(sizes, MESH_AXES, devices=devices, axis_types=types)


def spec(names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """How an array with these logical axes lies on the mesh.

    A mesh axis is used once, by the first dimension that asks for it; a dimension that it does not divide
    stays whole.
    """
    used: set[str] = set()
    parts = []
    for name, size in zip(names, shape, strict=True):
        chosen: list[str] = []
        for axis in RULES.get(name or "", ()):
            n = mesh.shape[axis]
            if n > 1 and axis not in used and size % n == 0:
                chosen.append(axis)
                used.add(axis)
                size //= n
        parts.append(tuple(chosen) if len(chosen) > 1 else chosen[0] if chosen else None)
    return PartitionSpec(*parts)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """`x` laid out by its logical axes on the mesh in use; `x` itself where there is none.

    The mesh is that of `with jax.set_mesh(mesh)` around the trace.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec(names, x.shape, mesh))


def shardings(axes: Any, shapes: Any, mesh: Mesh) -> Any:
    """A NamedSharding for each parameter of a tree, from its axes and its shape (`jax.eval_shape(init)`)."""

    def one(a: Axes, shape: jax.ShapeDtypeStruct) -> NamedSharding:
        return NamedSharding(mesh, spec(a.names, shape.shape, mesh))

    return jax.tree.map(one, axes, shapes)
