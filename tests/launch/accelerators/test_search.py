"""The search over meshes: what is compiled, in which order, and that what is expected is what is sent."""

import dataclasses
import math

import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from launch.accelerators import search
from launch.accelerators.hlo import Program
from launch.accelerators.search import expected_messages, expected_seconds, fastest_mesh, meshes
from launch.accelerators.step import DoesNotFit, StepReport
from launch.accelerators.topology import parse_topology
from models import Experts, TransformerConfig
from models.configs.published import PUBLISHED

MODEL = TransformerConfig(
    512, 512, 4, n_heads=4, n_kv_heads=2, d_head=128, d_ff=1024, dtype="bfloat16", remat=True
)
MIXED = dataclasses.replace(MODEL, family="moe", experts=Experts(4, 2, 256))
GIB = 2**30


def run_of(model, rows: int = 8, seq_len: int = 512) -> RunConfig:
    tokens = rows * seq_len
    return RunConfig(
        model, DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), tokens, seq_len, 10 * tokens
    )


def published(name: str, rows: int) -> RunConfig:
    return run_of(dataclasses.replace(PUBLISHED[name], dtype="bfloat16", remat=True), rows, 2048)


def test_meshes_use_all_devices_and_divide_rows_and_experts():
    for rows, text in ((8, "h100:2x4"), (4, "h100:2"), (6, "h100:8"), (64, "v5e:4x4")):
        topology = parse_topology(text)
        found = list(meshes(run_of(MIXED, rows), topology))
        assert len({tuple(mesh.items()) for mesh in found}) == len(found)
        for mesh in found:
            by_rows = math.prod(mesh.get(axis, 1) for axis in ("data", "fsdp", "expert"))
            assert math.prod(mesh.values()) == topology.n_devices and rows % by_rows == 0
            assert 4 % mesh.get("expert", 1) == 0 and topology.per_host % mesh.get("tensor", 1) == 0
    assert {"fsdp": 8} in meshes(run_of(MODEL), parse_topology("h100:2x4"))
    assert not list(meshes(run_of(MODEL, 7), parse_topology("v5e:4x4")))


@pytest.mark.parametrize(
    "name, rows, mesh, gathered, reduced",
    [
        ("llama-7b", 8, {"fsdp": 8}, 21.5, 11.2),
        ("llama-7b", 64, {"fsdp": 64}, 24.2, 12.6),
        ("llama-125m", 512, {"data": 64}, 0, 0.58),
        ("mixtral-8x7b", 64, {"fsdp": 8, "expert": 8}, 33.7, 20.2),
    ],
)
def test_what_is_expected_is_what_compiled_steps_send(name, rows, mesh, gathered, reduced):
    """As benchmarks/RESULTS.md has it of 8 and 64 H100s; an embedding is gathered once, not twice."""
    messages = expected_messages(published(name, rows), mesh)
    of = {"all-gather": 0.0, "all-reduce": 0.0, "reduce-scatter": 0.0}
    for each in messages:
        of[each.kind] += each.sent * each.times / GIB
    assert of["all-gather"] == pytest.approx(gathered, rel=0.07)
    assert of["all-reduce"] + of["reduce-scatter"] == pytest.approx(reduced, rel=0.25)


def test_messages_that_stay_within_a_host_are_cheaper():
    run, topology = published("llama-7b", 64), parse_topology("h100:8x8")
    within, across = (
        expected_seconds(run, topology, mesh) for mesh in ({"data": 8, "fsdp": 8}, {"fsdp": 64})
    )
    assert within < across
    one_host = parse_topology("h100:8")
    assert expected_seconds(run, one_host, {"fsdp": 8}) < expected_seconds(run, one_host, {"tensor": 8})


def fake(monkeypatch, forecasts, products):
    """Compiled steps that need what was forecast; returns the meshes that were compiled, in order."""
    compiled = []

    def compile_step(run, topology, mesh):
        compiled.append(mesh)
        flops, needed = products(mesh), forecasts(mesh)
        program = Program((), flops, 0)
        return StepReport(run, topology, mesh, int(needed), 0, 0, int(needed), program, flops, flops, "")

    class Forecast:
        def __init__(self, run, mesh, platform):
            self.total = forecasts(mesh)

    monkeypatch.setattr(search, "compile_step", compile_step)
    monkeypatch.setattr(search, "training_memory", Forecast)
    return compiled


def test_what_cannot_fit_is_never_compiled_and_the_fastest_that_fits_is_chosen(monkeypatch):
    topology, said = parse_topology("h100:2x4"), []
    compiled = fake(
        monkeypatch,
        forecasts=lambda mesh: 1e9 if mesh.get("fsdp", 1) > 1 else 200e9,
        products=lambda mesh: 1e15 / mesh.get("tensor", 1),
    )
    best, tried = fastest_mesh(run_of(MODEL), topology, said.append)
    assert [report.mesh for report in tried] == compiled and len(compiled) == search.COMPILED
    assert all(mesh.get("fsdp", 1) > 1 for mesh in compiled)
    order = [expected_seconds(run_of(MODEL), topology, mesh) for mesh in compiled]
    assert order == sorted(order)
    assert best.mesh["tensor"] == max(mesh.get("tensor", 1) for mesh in compiled)
    assert sum("compiling" in text for text in said) == len(compiled)


def test_the_search_goes_on_until_one_fits_and_else_names_what_needs_least(monkeypatch):
    topology = parse_topology("h100:2x4")
    last = max(meshes(run_of(MODEL), topology), key=lambda m: expected_seconds(run_of(MODEL), topology, m))
    limit = topology.card.memory
    compiled = fake(monkeypatch, lambda mesh: limit * (0.5 if mesh == last else 1.0), lambda mesh: 1e15)
    best, _ = fastest_mesh(run_of(MODEL), topology)  # forecasts that might fit, and do not
    assert best.mesh == last and best.fits and len(compiled) > search.COMPILED
    compiled = fake(monkeypatch, lambda mesh: limit * (3 if mesh == last else 4), lambda mesh: 1e15)
    best, _ = fastest_mesh(run_of(MODEL), topology)
    assert compiled == [last] and not best.fits


def test_a_mesh_for_which_there_is_no_program_does_not_end_the_search(monkeypatch):
    topology = parse_topology("h100:2x4")
    compiled = fake(monkeypatch, lambda mesh: 1e9, lambda mesh: 1e15)
    works = search.compile_step

    def compile_step(run, topology, mesh):
        if not compiled:
            compiled.append(mesh)
            raise DoesNotFit("the first")
        return works(run, topology, mesh)

    monkeypatch.setattr(search, "compile_step", compile_step)
    best, tried = fastest_mesh(run_of(MODEL), topology)
    assert best.fits and len(tried) == search.COMPILED and compiled[0] not in [each.mesh for each in tried]

    def refuse(run, topology, mesh):
        raise DoesNotFit(f"{mesh}")

    monkeypatch.setattr(search, "compile_step", refuse)
    with pytest.raises(DoesNotFit):
        fastest_mesh(run_of(MODEL), topology)


def test_rows_that_no_mesh_divides_are_refused():
    with pytest.raises(ValueError, match="no mesh of 16 devices divides the batch's 7 rows"):
        fastest_mesh(run_of(MODEL, 7), parse_topology("v5e:4x4"))
