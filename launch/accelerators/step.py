"""A run's training step, compiled for accelerators that are not here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

import models
from experiments.config import RunConfig
from experiments.training import optim
from experiments.training.memory import training_memory
from experiments.training.objectives import batch_like
from experiments.training.train import training_functions
from launch.accelerators.hlo import Collective, Program, read_program
from launch.accelerators.topology import Topology, devices
from models import sharding
from models.layers.attention import kernels

USABLE = 0.92  # of a device's memory: the rest is the driver's, and lost between arrays


class DoesNotFit(ValueError):
    """The compiler finds no program of a step that fits a device."""


@dataclass(frozen=True)
class StepReport:
    """Bytes, FLOPs and seconds are those of one device and one step.

    arguments: parameters, optimizer state and batch; temporaries: what the step makes and drops; output: what
      it returns beyond what takes its arguments' place; predicted: `isoflop plan`'s forecast of all of it.
    counted: FLOPs as `models.count` has them, with what remat computes again; useful: without that.
    no_kernel: why attention is not a fused kernel, "" where it is one.
    """

    run: RunConfig
    topology: Topology
    mesh: dict[str, int]
    arguments: int
    temporaries: int
    output: int
    predicted: int
    program: Program
    counted: float
    useful: float
    no_kernel: str

    @property
    def total(self) -> int:
        """Bytes a device needs."""
        return self.arguments + self.temporaries + self.output

    @property
    def fits(self) -> bool:
        return self.total <= USABLE * self.topology.card.memory

    @property
    def seconds(self) -> dict[str, float]:
        """The least time for products, for memory and for messages.

        Products: those compiled, or counted if these are more, as a loop whose length the data decide counts
        once. Memory: arguments are read and written once, temporaries written and read once; a real step does
        more.
        """
        card = self.topology.card
        return {
            "products": max(self.program.flops, self.counted) / card.peak,
            "memory": 2 * (self.arguments + self.temporaries) / card.bandwidth,
            "messages": message_seconds(self.program.collectives, self.topology),
        }

    @property
    def step_seconds(self) -> tuple[float, float]:
        """The least time of a step, if all of this overlaps and if none of it does."""
        return max(self.seconds.values()), sum(self.seconds.values())

    @property
    def mfu(self) -> tuple[float, float]:
        """Shares of the peak that these times allow; what is computed again does not count as useful."""
        least, most = self.step_seconds
        ideal = self.useful / self.topology.card.peak
        return ideal / least, ideal / most

    def axes(self, collective: Collective) -> tuple[str, ...]:
        """The mesh axes along which a group's devices differ."""
        sizes = [self.mesh.get(axis, 1) for axis in sharding.MESH_AXES]
        places = [_place(device, sizes) for device in collective.group]
        return tuple(
            axis for i, axis in enumerate(sharding.MESH_AXES) if len({place[i] for place in places}) > 1
        )


def message_seconds(collectives: Iterable[Collective], topology: Topology) -> float:
    """The least time that these messages of a device take, on links and network at once."""
    sent = {"link": 0.0, "network": 0.0}
    for each in collectives:
        hosts = {device // topology.per_host for device in each.group}
        sent["link" if len(hosts) == 1 else "network"] += each.sent * each.times / len(hosts)
        sent["link"] += each.sent * each.times * (len(hosts) - 1) / len(hosts)
    return max(sent["link"] / topology.card.link, sent["network"] / topology.card.network)


def compile_step(run: RunConfig, topology: Topology, mesh: dict[str, int]) -> StepReport:
    """The report of a run's step on a mesh of the topology's devices.

    Args:
      run: pretraining from fresh parameters.
      topology: to compile for.
      mesh: sizes by axis, whose product is the number of devices.

    Raises:
      DoesNotFit: no compiled program fits a device at all.
      ValueError: the compiler is not installed, the mesh does not fit devices or batch, or the run is not
        pretraining.
    """
    if run.objective is not None or run.init:
        raise ValueError("--compile: only pretraining from fresh parameters is compiled so far; leave it out")
    placed = sharding.make_mesh(mesh, devices(topology))
    sharding.check_batch(run.batch_size, placed)
    step, arguments = _step_and_arguments(run, placed)
    try:
        compiled = step.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = next((line for line in str(error).splitlines() if "memory" in line.lower()), str(error))
        raise DoesNotFit(
            f"--compile {topology.text}, mesh {mesh}: it does not fit; {said.strip()[:200]}"
        ) from None
    memory, counts = compiled.memory_analysis(), models.count(run.model)
    tokens = run.batch_size * run.seq_len / topology.n_devices
    program = read_program(compiled.as_text())
    return StepReport(
        run,
        topology,
        mesh,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        output=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        predicted=training_memory(run, mesh, topology.card.platform).total,
        program=program,
        counted=tokens * counts.hardware_flops_per_token(run.seq_len, run.model.remat),
        useful=tokens * counts.flops_per_token(run.seq_len),
        no_kernel="" if program.attention_kernels else _no_kernel(run, placed),
    )


def _step_and_arguments(run: RunConfig, mesh: Any) -> tuple[Any, list[Any]]:
    """The jitted step, and shapes of its arguments as they lie on the mesh."""
    functions = training_functions(run.model, run.optimizer.name, run.schedule.name, mesh, 1, run.recipe)
    axes = models.build(run.model).axes
    params_at, opt_state_at, whole = sharding.training_shardings(axes, functions.init, mesh)
    params, opt_state = jax.eval_shape(functions.init, jax.random.key(0))

    def placed(tree: Any, at: Any) -> Any:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, at)

    def everywhere(tree: Any) -> Any:
        return placed(tree, jax.tree.map(lambda _: whole, tree))

    batch = batch_like(run)
    at = NamedSharding(mesh, sharding.spec(("batch", "length"), batch.shape, mesh))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    hyper = everywhere(jax.eval_shape(lambda: optim.hyperparameters(run)))
    state = placed(params, params_at), placed(opt_state, opt_state_at)
    return functions.step, [*state, everywhere(number), placed(batch, at), hyper]


def _no_kernel(run: RunConfig, mesh: Any) -> str:
    """Why attention is not a fused kernel; "" for networks without attention."""
    config: Any = run.model
    if not hasattr(config, "n_kv_heads"):
        return ""
    queries, keys = (
        jax.ShapeDtypeStruct((run.batch_size, run.seq_len, n, config.d_head), jnp.dtype(config.dtype))
        for n in (config.n_heads, config.n_kv_heads)
    )
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        if getattr(config, "latent", None):
            return "latent attention; its keys are wider than its values"
        return kernels.missing(
            queries, keys, getattr(config, "attention_softcap", 0.0), getattr(config, "sinks", False)
        )


def _place(device: int, sizes: list[int]) -> tuple[int, ...]:
    place = []
    for size in reversed(sizes):
        device, at = divmod(device, size)
        place.append(at)
    return tuple(reversed(place))


def default_mesh(topology: Topology) -> dict[str, int]:
    """Parameters and rows spread over all devices (ZeRO stage 3)."""
    return {"fsdp": topology.n_devices} if topology.n_devices > 1 else {}
