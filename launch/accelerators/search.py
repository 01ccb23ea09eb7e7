"""The mesh on which a run is fastest: the most promising of those on which it should fit are compiled."""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

import models
from experiments.config import RunConfig
from experiments.training.memory import training_memory
from launch.accelerators.hlo import Collective
from launch.accelerators.step import USABLE, DoesNotFit, StepReport, compile_step, message_seconds
from launch.accelerators.topology import Topology
from models import sharding
from models.configs.counting import itemsize

COMPILED = 4  # of the meshes on which a run should fit, the most promising
DOUBT = 1.1  # forecasts of memory are seldom more than a tenth too high (benchmarks/RESULTS.md)


def fastest_mesh(
    run: RunConfig, topology: Topology, say: Callable[[str], None] = lambda text: None
) -> tuple[StepReport, list[StepReport]]:
    """The report on the fastest mesh of those that fit, by its bound, and the reports on all that were tried.

    Meshes are tried in the order of `expected_seconds`, without those whose forecast of memory does not fit.
    If none fits, it is the one that needs least.

    Args:
      run: as for `compile_step`.
      topology: to compile for.
      say: is told what is being done.

    Raises:
      ValueError: no mesh of these devices divides the batch; or as `compile_step`.
    """
    found = sorted(meshes(run, topology), key=lambda mesh: expected_seconds(run, topology, mesh))
    if not found:
        raise ValueError(
            f"--mesh auto: no mesh of {topology.n_devices} devices divides the batch's {run.batch_size} rows"
        )
    most, tried, needs = DOUBT * USABLE * topology.card.memory, [], {}
    refused: DoesNotFit | None = None
    for i, mesh in enumerate(found):
        words = ",".join(f"{axis}={size}" for axis, size in mesh.items())
        say(f"{topology.text}: mesh {i + 1} of {len(found)}, {words}: forecast of memory")
        needs[i] = training_memory(run, mesh, topology.card.platform).total
        if needs[i] <= most:
            say(f"{topology.text}: mesh {i + 1} of {len(found)}, {words}: compiling")
            try:
                tried.append(compile_step(run, topology, mesh))
            except DoesNotFit as error:
                refused = error
        if len(tried) >= COMPILED and any(report.fits for report in tried):
            break
    if not tried and refused:
        raise refused
    if not tried:
        tried = [compile_step(run, topology, found[min(needs, key=needs.__getitem__)])]
    fitting = [report for report in tried if report.fits]
    best = min(fitting, key=lambda r: sum(r.step_seconds)) if fitting else min(tried, key=lambda r: r.total)
    return best, tried


def meshes(run: RunConfig, topology: Topology) -> Iterator[dict[str, int]]:
    """Meshes over all devices: rows by data and fsdp, products by tensor and expert within a host."""
    n, n_hosts = topology.n_devices, topology.n_devices // topology.per_host
    n_experts = getattr(getattr(run.model, "experts", None), "n_experts", 1)
    tensors = [size for size in (1, 2, 4, 8) if topology.per_host % size == 0]
    experts = [size for size in (1, 2, 4, 8) if n_experts % size == 0]
    for tensor, expert in itertools.product(tensors, experts):
        rows, rest = divmod(n, tensor * expert)
        if rest or run.batch_size % (rows * expert):
            continue
        for data in sorted({1, math.gcd(n_hosts, rows), rows}):
            mesh = {"data": data, "fsdp": rows // data, "tensor": tensor, "expert": expert}
            yield {axis: size for axis, size in mesh.items() if size > 1}


def expected_seconds(run: RunConfig, topology: Topology, mesh: dict[str, int]) -> float:
    """The least time of a step by what is counted: products, and then the messages that a mesh needs."""
    counts = models.count(run.model)
    flops = run.batch_tokens * counts.hardware_flops_per_token(run.seq_len, run.model.remat)
    products = flops / topology.n_devices / topology.card.peak
    return products + message_seconds(expected_messages(run, mesh), topology)


def expected_messages(run: RunConfig, mesh: dict[str, int]) -> list[Collective]:
    """What a step sends, each axis by itself, in the compute type.

    fsdp: weights are gathered forward and backward, and gradients scattered. data, and expert for what is no
    expert's: gradients are summed. tensor: a layer's activations are summed after attention and after the
    feed-forward layer, forward and backward, with remat once more. expert: tokens are gathered and their sums
    scattered, backward the other way round, after they were gathered again.
    """
    counts, size = models.count(run.model), {axis: mesh.get(axis, 1) for axis in sharding.MESH_AXES}
    width, layers = itemsize(run.model), getattr(run.model, "n_layers", 0)
    of_experts = counts.parts["experts"].n_params if "experts" in counts.parts else 0
    dense = width * (counts.n_total - of_experts) / size["tensor"]
    weights = dense + width * of_experts / (size["tensor"] * size["expert"])
    tokens = run.batch_tokens / (size["data"] * size["fsdp"] * size["expert"] * size["sequence"])
    stream = width * tokens * run.model.d_model
    sent = [
        ("fsdp", "all-gather", weights / size["fsdp"], 2),
        ("fsdp", "reduce-scatter", weights, 1),
        ("data", "all-reduce", weights / size["fsdp"], 1),
        ("expert", "all-reduce", dense / size["fsdp"], 1),
        ("tensor", "all-reduce", stream, layers * (6 if run.model.remat else 4)),
        ("expert", "all-gather", stream, layers * 3),
        ("expert", "reduce-scatter", stream * size["expert"], layers * 2),
    ]
    devices = np.arange(math.prod(size.values())).reshape(list(size.values()))
    return [
        Collective(kind, (), int(n_bytes), times, tuple(_along(devices, axis)))
        for axis, kind, n_bytes, times in sent
        if size[axis] > 1
    ]


def _along(devices: np.ndarray, axis: str) -> list[int]:
    """The group of the first device along a mesh axis."""
    i = sharding.MESH_AXES.index(axis)
    return np.moveaxis(devices, i, 0).reshape(devices.shape[i], -1)[:, 0].tolist()
