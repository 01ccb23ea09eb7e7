"""Memory predicted from the traced program, against what XLA sets aside."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import Var

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import InitConfig, LoRAConfig
from experiments.training.loss import training_loss
from experiments.training.memory import memory_needs, pack_size, smallest_mesh, training_memory
from experiments.training.optim import hyperparameters
from experiments.training.train import training_functions
from launch.commands.studies.plan import fits, size
from models import ladder
from models.families import layer_scan
from models.sharding import abstract_mesh, check_batch
from tests.tiers import slow_but

# Machine code need not be fast here, nor compiled slowly.
CHEAP = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(autouse=True)
def loops(monkeypatch):
    """What is forecast: layers in a loop, as accelerators run them. A CPU unrolls few, and needs less."""
    monkeypatch.setattr(layer_scan, "UNROLLED", 0)


def run_of(family: str, d_model: int, n_layers: int, rows: int, seq_len: int, remat: bool) -> RunConfig:
    layers = {
        name: n_layers
        for name in ("n_layers", "n_decoder_layers")
        if hasattr(ladder(d_model, 256, family), name)
    }
    model = ladder(d_model, 256, family, remat=remat, **layers)
    n = rows * seq_len
    return RunConfig(model, DataConfig(), OptimizerConfig(lr=0.1), ScheduleConfig(), n, seq_len, n)


def compiled_bytes(run: RunConfig) -> int:
    compiled = training_functions(run.model, "adamw", "wsd", None)
    state = jax.eval_shape(compiled.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((run.batch_size, run.seq_len + 1), jnp.int32)
    number, hyper = jax.ShapeDtypeStruct((), jnp.int32), jax.eval_shape(lambda: hyperparameters(run))
    lowered = compiled.step.lower(*state, number, tokens, hyper)
    memory = lowered.compile(compiler_options=CHEAP).memory_analysis()
    kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + kept


PLAIN, REMAT = (64, 4, 8, 128, False), (128, 6, 4, 64, True)


@pytest.mark.parametrize("family", slow_but(["transformer", "moe"], models.FAMILIES))
def test_a_step_needs_what_xla_sets_aside(family):
    run = run_of(family, *PLAIN)
    assert training_memory(run).total == pytest.approx(compiled_bytes(run), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["transformer", "rwkv7"])
def test_a_longer_step_that_computes_again_needs_what_xla_sets_aside(family):
    run = run_of(family, *REMAT)
    assert training_memory(run).total == pytest.approx(compiled_bytes(run), rel=0.15)


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("remat", [False, True])
def test_no_copy_of_the_weights_is_kept_for_the_backward_pass(family, remat):
    """On a mesh it would be whole on every device, and undo what spreading them saves."""
    config = dataclasses.replace(run_of(family, 32, 3, 2, 64, remat).model, dtype="bfloat16")
    model = models.build(config)
    params, tokens = jax.eval_shape(model.init, jax.random.key(0)), jax.ShapeDtypeStruct((2, 65), jnp.int32)
    saved = jax.make_jaxpr(lambda p, t: jax.vjp(lambda p: training_loss(model, p, t)[0], p)[1])(
        params, tokens
    )
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(model.axes))
    stacks = {leaf.shape for leaf, axes in pairs if "layers" in axes.copies and axes.inputs}
    kept = {var for var in saved.jaxpr.outvars if isinstance(var, Var)} - {*saved.jaxpr.invars}
    copies = [var.aval for var in kept if var.aval.shape in stacks]
    assert stacks and not copies, copies


@pytest.mark.parametrize("family", slow_but(["transformer", "moe"], models.FAMILIES))
def test_remat_keeps_less(family):
    plain, again = (training_memory(run_of(family, 64, 4, 8, 128, remat)) for remat in (False, True))
    assert again.activations < 0.4 * plain.activations and again.total < 0.6 * plain.total
    assert again.parameters == plain.parameters == plain.gradients


def test_more_devices_need_less_each_and_the_first_that_fits_is_named():
    run = run_of("transformer", 64, 4, 8, 128, False)
    sizes = [training_memory(run, mesh).total for mesh in ({}, {"fsdp": 2}, {"fsdp": 4}, {"fsdp": 8})]
    assert sizes == sorted(sizes, reverse=True) and sizes[3] < sizes[0] / 4
    assert smallest_mesh(run, sizes[0]) == {} and smallest_mesh(run, sizes[0] - 1) == {"fsdp": 2}
    assert smallest_mesh(run, sizes[3]) == {"fsdp": 8} and smallest_mesh(run, 1000) is None
    check_batch(run.batch_size, abstract_mesh({"fsdp": 8}))  # train takes what plan names


def test_as_many_runs_are_packed_as_fit():
    run = run_of("transformer", 64, 4, 8, 128, False)
    one = training_memory(run).total
    assert pack_size(run, 10.1 * one / 0.8, "gpu") == 10 and pack_size(run, one, "gpu") == 1
    assert pack_size(run, 10**6 * one, "gpu") == 64 and pack_size(run, 10**6 * one, "cpu") == 1


def test_plan_says_what_fits():
    run = run_of("transformer", 64, 4, 8, 128, False)
    roomy, tight, hopeless = (memory_needs(run, n) for n in (1e9, 2e7, 1e3))
    assert fits({"a": roomy}, 1e9) == f"memory: at most {size(roomy['total'])} of a device's 1GB"
    assert "does not fit a device's 20MB: it needs" in fits({"a": tight, "b": roomy}, 2e7)
    assert "--mesh fsdp=4 would (4 devices)" in fits({"a": tight}, 2e7)
    assert fits({"a": hopeless}, 1e3).endswith("no mesh would")
    assert roomy["cache_a_row"] == models.count(run.model).cache_bytes(128)


def test_adapters_have_no_state_for_what_they_adapt_and_the_network_counts_once():
    run = run_of("transformer", 64, 4, 8, 128, False)
    adapted = dataclasses.replace(run, init=InitConfig("base", lora=LoRAConfig(rank=2)))
    whole, part = training_memory(run), training_memory(adapted)
    assert part.parameters == whole.parameters + part.gradients and part.optimizer < 0.1 * whole.optimizer


def test_a_batch_in_parts_keeps_the_residuals_of_one():
    run = run_of("transformer", 64, 4, 8, 128, False)
    parts = training_memory(dataclasses.replace(run, micro_batches=4))
    assert parts.activations == pytest.approx(training_memory(run).activations / 4, rel=0.1)
