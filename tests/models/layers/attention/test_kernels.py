"""Which kernel computes attention is a matter of the devices traced for; what the splash kernel computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from models.layers.attention import attend, causal_mask, kernels
from models.sharding import MESH_AXES


def mesh_of(platform: str, **sizes: int) -> AbstractMesh:
    """As the mesh of devices that are not here is in a trace."""
    return AbstractMesh(
        tuple(sizes.get(axis, 1) for axis in MESH_AXES),
        MESH_AXES,
        (AxisType.Auto,) * len(MESH_AXES),
        abstract_device=AbstractDevice("any", None, platform),
    )


@pytest.mark.parametrize(
    "mesh, shape, dtype, cap, said",
    [
        (mesh_of("gpu"), (2, 256, 4, 64), "bfloat16", 0.0, ""),
        (mesh_of("gpu", fsdp=8, tensor=2), (8, 192, 4, 128), "bfloat16", 0.0, ""),
        (mesh_of("tpu", fsdp=8), (8, 256, 4, 64), "bfloat16", 50.0, ""),
        (mesh_of("cpu", fsdp=8), (8, 256, 4, 64), "bfloat16", 0.0, "no kernel for cpu"),
        (None, (8, 256, 4, 64), "bfloat16", 0.0, "no kernel for cpu"),
        (mesh_of("gpu"), (2, 256, 4, 64), "float32", 0.0, "dtype=float32"),
        (mesh_of("gpu"), (2, 256, 4, 64), "bfloat16", 50.0, "attention_softcap=50"),
        (mesh_of("gpu"), (2, 100, 4, 64), "bfloat16", 0.0, "multiple of 64"),
        (mesh_of("tpu"), (2, 192, 4, 64), "bfloat16", 0.0, "multiple of 128"),
        (mesh_of("gpu"), (2, 256, 4, 256), "bfloat16", 0.0, "d_head=256"),
        (mesh_of("gpu", sequence=2), (2, 256, 4, 64), "bfloat16", 0.0, "sequence=2"),
        (mesh_of("tpu", tensor=4), (2, 256, 4, 64), "bfloat16", 0.0, "not the 2 of keys"),
    ],
)
def test_the_devices_traced_for_decide_which_kernel_there_is(mesh, shape, dtype, cap, said):
    b, t, h, k = shape
    q, keys = (jax.ShapeDtypeStruct((b, t, n, k), jnp.dtype(dtype)) for n in (h, 2))
    if mesh is None:
        why = kernels.missing(q, keys, cap)
    else:
        with jax.sharding.use_abstract_mesh(mesh):
            why = kernels.missing(q, keys, cap)
    assert said in why and bool(said) == bool(why)


@pytest.mark.parametrize("window, cap", [(0, 0.0), (40, 20.0)])
def test_the_splash_kernel_computes_what_plain_attention_does(window, cap):
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (1, 128, n, 64)) for key, n in zip(keys, (4, 2, 2)))
    plain = attend(q, k, v, causal_mask(128, window), 0.125, cap=cap)
    with tpu.force_tpu_interpret_mode():
        fused = kernels._splash(q * 0.125, k, v, window=window, cap=cap)
    np.testing.assert_allclose(fused, plain, atol=2e-5)
