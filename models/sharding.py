"""Where arrays live: logical axis names on one side, the axes of the device mesh on the other."""

import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

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


def parse_mesh(text: str) -> dict[str, int]:
    """Sizes by mesh axis from "data=2,fsdp=4"; "" is no mesh.

    Raises:
      ValueError: not of that form, an unknown axis, or a size below 1.
    """
    shape = {}
    for part in text.split(",") if text else []:
        name, equals, size = part.strip().partition("=")
        if not equals or not size.isdecimal():
            raise ValueError(f"mesh: {part!r}; write AXIS=SIZE,…, for example data=2,fsdp=4")
        shape[name] = int(size)
    _check_mesh(shape)
    return shape


def _check_mesh(shape: dict[str, int]) -> None:
    for name, size in shape.items():
        if name not in MESH_AXES:
            raise ValueError(f"mesh: no axis {name!r}; there are {', '.join(MESH_AXES)}")
        if size < 1:
            raise ValueError(f"mesh: {name}={size}; a size is at least 1")


def make_mesh(shape: dict[str, int], devices: Any = None) -> Mesh:
    """A mesh with the sizes given by axis name, 1 for the others, of all devices or those given.

    Raises:
      ValueError: an unknown axis, a size below 1, or sizes whose product is not the number of devices.
    """
    _check_mesh(shape)
    devices = jax.devices() if devices is None else devices
    n = math.prod(shape.values())
    if n != len(devices):
        raise ValueError(f"mesh: {shape} needs {n} devices and there are {len(devices)}")
    sizes, types = tuple(shape.get(name, 1) for name in MESH_AXES), (AxisType.Auto,) * len(MESH_AXES)
    try:
        return jax.make_mesh(sizes, MESH_AXES, devices=devices, axis_types=types)
    except NotImplementedError:  # of a slice of TPUs, 4 x 4 x 4 for one, whose sides sizes of 8 split
        split = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(split, MESH_AXES, axis_types=types)


def abstract_mesh(shape: dict[str, int], platform: str = "") -> AbstractMesh:
    """The same mesh without devices: enough to know where everything would lie, and, of the devices of a
    platform ("cpu", "gpu" or "tpu"), which kernels would be used."""
    _check_mesh(shape)
    sizes, types = tuple(shape.get(name, 1) for name in MESH_AXES), (AxisType.Auto,) * len(MESH_AXES)
    device = AbstractDevice(platform, 1, platform) if platform else None
    return AbstractMesh(sizes, MESH_AXES, axis_types=types, abstract_device=device)


def device_memory() -> int:
    """Bytes of the device that this process would train on: an accelerator's own, or the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def platform() -> str:
    """Of the devices that the program being traced is for, "cpu", "gpu" or "tpu": those of the mesh in use,
    which need not be here, or else jax's own choice."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device is not None else jax.default_backend()


def on_mesh(function: Callable, mesh: Mesh | AbstractMesh | None) -> Callable:
    """`function` for `jax.jit`, traced with `mesh` in use for `constrain`; as it is without a mesh."""
    if mesh is None:
        return function
    mesh = mesh.abstract_mesh

    @functools.wraps(function)
    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh):
            return function(*arguments)

    return traced


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

    The mesh is that of `on_mesh`, or of `with jax.set_mesh(mesh)` around the trace.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec(names, x.shape, mesh))


def gathered(w: jax.Array, names: tuple[str, ...], dtype: Any) -> jax.Array:
    """A parameter as its product reads it: in the compute type, collected along fsdp, still spread along the
    other axes.

    Said outright because the partitioner may find it cheaper to sum partial activations instead, and cast
    first: that halves what bfloat16 sends. The gradient goes back the same way: summed over the devices while
    it is scattered, so that each receives its share alone (ZeRO stage 3, Rajbhandari et al. 2020).
    """
    return w.astype(dtype) if jax.sharding.get_abstract_mesh().empty else _gathered(w, names, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(w: jax.Array, names: tuple[str, ...], dtype: Any) -> jax.Array:
    w, parts = w.astype(dtype), spec(names, w.shape, jax.sharding.get_abstract_mesh())
    if "fsdp" in parts:
        # By hand: left to constraints, XLA gathers some weights before the cast, and those of a backward pass
        # that computes its forward pass again twice.
        collect = functools.partial(
            jax.lax.all_gather, axis_name="fsdp", axis=parts.index("fsdp"), tiled=True
        )
        whole = PartitionSpec(*(None if axis == "fsdp" else axis for axis in parts))
        return jax.shard_map(collect, in_specs=parts, out_specs=whole, check_vma=False)(w)
    return constrain(w, *(None if name == "embed" else name for name in names))


def _gathered_backward(names: tuple[str, ...], dtype: Any, _, dw: jax.Array) -> tuple[jax.Array]:
    return (constrain(dw, *names).astype(jnp.float32),)


_gathered.defvjp(lambda w, names, dtype: (_gathered(w, names, dtype), None), _gathered_backward)


def put(x: Any, mesh: Mesh | None, names: tuple[str | None, ...] = ()) -> jax.Array:
    """An array on the devices of the mesh, laid out by its logical axes; no names: whole on each of them.

    Without a mesh it goes to this process's first device, and says so: jax compiles a program again for
    arrays that are only there by chance. On the mesh of several processes all give the same `x`.
    """
    if mesh is None:
        return jax.device_put(x, jax.local_devices()[0])
    at = NamedSharding(mesh, spec(names, x.shape, mesh) if names else PartitionSpec())
    if mesh.is_multi_process:
        return _from_parts(x.shape, at, np.asarray(x).__getitem__)
    return jax.device_put(x, at)


def put_batch(batch: Any, mesh: Mesh | None) -> Any:
    """A tree of arrays [B, …] as `put` lays them out, spread over rows and the next dimension."""
    return jax.tree.map(lambda x: put(x, mesh, _of_batch(x)), batch)


def batch_sharding(x: Any, mesh: Mesh | AbstractMesh) -> NamedSharding:
    """How `put_batch` lays out an array, or one of this shape."""
    return NamedSharding(mesh, spec(_of_batch(x), x.shape, mesh))


def _of_batch(x: Any) -> tuple[str | None, ...]:
    return ("batch", "length", *(None,) * x.ndim)[: x.ndim]


def put_rows(read: Callable[[slice], Any], n_rows: int, mesh: Mesh | None) -> Any:
    """A tree of arrays [R, …] of which `read` gives rows, spread over these and the next dimension.

    Where the mesh is one of several processes, each reads the rows that its own devices hold.

    Args:
      read: from a slice of rows to the tree of their arrays, [r, …].
      n_rows: R.
      mesh: None for one device.
    """

    if mesh is None or not mesh.is_multi_process:
        return put_batch(read(slice(None)), mesh)
    first, structure = jax.tree.flatten(read(slice(0, 1)))

    def collected(i: int, x: np.ndarray) -> jax.Array:
        shape = (n_rows, *x.shape[1:])
        at = NamedSharding(mesh, spec(_of_batch(x), shape, mesh))
        return _from_parts(
            shape, at, lambda index: jax.tree.leaves(read(index[0]))[i][(slice(None), *index[1:])]
        )

    return jax.tree.unflatten(structure, [collected(i, x) for i, x in enumerate(first)])


def put_parameters(params: Any, axes: Any, mesh: Mesh | None) -> Any:
    """A tree of parameters on the devices, laid out as `shardings` says."""
    if mesh is None:
        return jax.tree.map(lambda x: put(x, None), params)
    at = shardings(axes, params, mesh)
    if mesh.is_multi_process:
        return jax.tree.map(lambda x, s: _from_parts(x.shape, s, np.asarray(x).__getitem__), params, at)
    return jax.device_put(params, at)


def like(tree: Any, other: Any) -> Any:
    """The arrays of a tree where those of another one of the same form are."""
    return jax.tree.map(lambda x, y: _from_parts(x.shape, y.sharding, np.asarray(x).__getitem__), tree, other)


def _from_parts(shape: tuple[int, ...], at: Any, part: Callable[[Any], np.ndarray]) -> jax.Array:
    with jax.transfer_guard("allow"):  # that is said outright here, as by device_put
        return jax.make_array_from_callback(shape, at, part)


def check_batch(batch_size: int, mesh: Mesh | None) -> None:
    """Refuses rows that cannot be shared out evenly.

    Raises:
      ValueError: the devices that share a batch do not divide it.
    """
    n = math.prod(mesh.shape[axis] for axis in RULES["batch"]) if mesh else 1
    if batch_size % n:
        raise ValueError(
            f"mesh: {n} devices ({' x '.join(RULES['batch'])}) share the rows of a batch, "
            f"and it has {batch_size}; choose sizes that divide it"
        )


def shardings(axes: Any, shapes: Any, mesh: Mesh | AbstractMesh) -> Any:
    """A NamedSharding for each parameter, from its `parameters.Axes` and its shape (`eval_shape(init)`).

    Vectors stay whole: they are small, and collecting them would cost a message each.
    """

    def one(a: Any, shape: jax.ShapeDtypeStruct) -> NamedSharding:
        return NamedSharding(mesh, spec(a.names, shape.shape, mesh) if a.inputs else PartitionSpec())

    return jax.tree.map(one, axes, shapes)


def state_shardings(state: Any, params: Any, of_params: Any, mesh: Mesh | AbstractMesh) -> Any:
    """A NamedSharding for each array of an optimizer state.

    An array lies like the parameter whose path its own path ends with, if it has its shape (a moment); any
    other stays whole.

    Args:
      state: an optimizer state, arrays or shapes.
      params: the parameters, arrays or shapes.
      of_params: a NamedSharding for each of them.
      mesh: where all this lies.
    """
    leaves = zip(jax.tree.leaves_with_path(params), jax.tree.leaves(of_params))
    by_path = {(path, leaf.shape): sharding for (path, leaf), sharding in leaves}

    def one(path: tuple, leaf: Any) -> NamedSharding:
        tails = (by_path.get((path[i:], leaf.shape)) for i in range(len(path)))
        return next(filter(None, tails), NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map_with_path(one, state)


def training_shardings(axes: Any, init: Callable, mesh: Mesh | None) -> tuple[Any, Any, Any]:
    """Where parameters and optimizer state lie, as init(key) makes them, and what is whole everywhere.

    Without a mesh all three are None: jax then decides.
    """
    if mesh is None:
        return None, None, None
    params, opt_state = jax.eval_shape(init, jax.random.key(0))
    of_params = shardings(axes, params, mesh)
    return (
        of_params,
        state_shardings(opt_state, params, of_params, mesh),
        NamedSharding(mesh, PartitionSpec()),
    )
