"""Every family compiles for both kinds of accelerators: its training step, prefill and decoding, on meshes of
8 and 64 devices. The compilers are those of the extras cuda and tpu; without them these tests are skipped."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from launch.accelerators.step import compile_step
from launch.accelerators.topology import devices, missing_plugin, parse_topology
from models import Experts, TransformerConfig, ladder, sharding

pytestmark = pytest.mark.slow
SEQ_LEN = 128
DENSE = TransformerConfig(
    256, 128, 2, n_heads=2, n_kv_heads=2, d_head=64, d_ff=256, dtype="bfloat16", remat=True
)
MIXED = dataclasses.replace(DENSE, family="moe", experts=Experts(8, 2, 128, dispatch="dropless"))


def needs(platform: str) -> pytest.MarkDecorator:
    extra = missing_plugin(platform)
    why = f"no compiler for it: pip install 'isoflop[{extra}]' brings one"
    return pytest.mark.skipif(bool(extra), reason=why)


KINDS = [
    pytest.param({8: "h100:8", 64: "h100:8x8"}, id="gpu", marks=needs("gpu")),
    pytest.param({8: "v5e:2x4", 64: "v5e:8x8"}, id="tpu", marks=needs("tpu")),
]


def config_of(family: str) -> Any:
    own = {"transformer": DENSE, "moe": MIXED}
    return own.get(family) or dataclasses.replace(ladder(64, 256, family), dtype="bfloat16")


def run_of(config: Any, rows: int) -> RunConfig:
    tokens = rows * SEQ_LEN
    return RunConfig(
        config, DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), tokens, SEQ_LEN, 10 * tokens
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_step_compiles_and_fits(kind, family):
    report = compile_step(run_of(config_of(family), 8), parse_topology(kind[8]), {"fsdp": 8})
    assert report.fits and report.program.flops > 0
    if family in ("transformer", "moe"):  # a kernel a layer forward, one more with remat, one or two backward
        assert report.program.attention_kernels >= 3 * DENSE.n_layers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "config, mesh",
    [
        (DENSE, {"fsdp": 2, "tensor": 2, "sequence": 2}),
        (DENSE, {"data": 4, "fsdp": 4, "tensor": 2, "sequence": 2}),
        (MIXED, {"fsdp": 2, "tensor": 2, "expert": 2}),
        (MIXED, {"data": 2, "fsdp": 2, "tensor": 2, "expert": 4, "sequence": 2}),
    ],
    ids=["dense-8", "dense-64", "experts-8", "experts-64"],
)
def test_a_step_compiles_on_every_axis(kind, config, mesh):
    n = 8 if "data" not in mesh else 64
    report = compile_step(run_of(config, 16 if n == 64 else 8), parse_topology(kind[n]), mesh)
    axes = {axis for one in report.program.collectives for axis in report.axes(one)}
    assert report.fits and axes == set(mesh)


@needs("tpu")
def test_a_mesh_may_split_the_sides_of_a_slice():
    there = devices(parse_topology("v5p:4x4x4"))
    mesh = sharding.make_mesh({"fsdp": 8, "expert": 8}, there)
    assert mesh.shape["fsdp"] == mesh.shape["expert"] == 8 and set(mesh.devices.flat) == set(there)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", models.FAMILIES)
def test_prefill_and_decoding_compile(kind, family):
    """Rows and parameters spread over 8 devices; the cache lies as prefill leaves it."""
    mesh = sharding.make_mesh({"fsdp": 8}, devices(parse_topology(kind[8])))
    model = models.build(config_of(family))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    at = sharding.shardings(model.axes, shapes, mesh)
    params = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, at)
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))

    def ints(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows)

    source = {"source_BS": ints(8, SEQ_LEN)} if model.has_encoder else {}
    prefill = jax.jit(
        sharding.on_mesh(lambda p, t, n, source: model.prefill(p, t, n, 2 * SEQ_LEN, **source), mesh)
    )
    compiled = prefill.lower(params, ints(8, SEQ_LEN), ints(8), source).compile()
    logits, cache = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        jax.eval_shape(prefill, params, ints(8, SEQ_LEN), ints(8), source),
        compiled.output_shardings,
    )
    decode = jax.jit(sharding.on_mesh(model.decode, mesh)).lower(params, ints(8), cache).compile()
    _, of_cache = decode.output_shardings
    assert logits.shape == (8, 256)
    assert jax.tree.structure(of_cache) == jax.tree.structure(cache)
