"""One training step of every family on meshes of eight virtual CPU devices; prints what test_sharding reads.

    python -m tests.models.sharded [FAMILY …]

Its own process, as the number of devices is fixed once jax has started. One JSON line a family and mesh;
before each compilation its name goes to standard error, where XLA complains.
"""

import dataclasses
import json
import re
import sys
from typing import Any

import jax
import numpy as np

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import optim
from experiments.training.train import training_functions
from models import ladder, sharding

BATCH, SEQ_LEN, VOCAB, D_MODEL, LAYERS = 8, 32, 256, 64, 4
DROPLESS = "moe without drops"  # which is computed another way on a mesh
EVERYWHERE = ({"data": 8}, {"fsdp": 8}, {"data": 2, "tensor": 2, "sequence": 2})
MESHES = {  # of every family, and of some what besides
    "transformer": (*EVERYWHERE, {"data": 2, "fsdp": 4}, {"fsdp": 2, "tensor": 4}),
    "moe": (*EVERYWHERE, {"fsdp": 4, "expert": 2}),
    DROPLESS: ({"fsdp": 8}, {"data": 2, "fsdp": 2, "expert": 2}),
}
B1 = 0.9


def run_config(family: str) -> RunConfig:
    """A run of a tiny model, four layers deep, whose every dimension the meshes divide.

    A large epsilon, as Adam's first step is nearly the gradient's sign: where a gradient is near zero it
    would show the rounding of that, magnified. No clipping and no warm-up.
    """
    model: Any = ladder(D_MODEL, VOCAB, "moe" if family == DROPLESS else family)
    layers = {name: LAYERS for name in ("n_layers", "n_decoder_layers") if hasattr(model, name)}
    model, seq_len = dataclasses.replace(model, **layers), SEQ_LEN
    if family == DROPLESS:  # of more tokens than every expert has room for
        experts = dataclasses.replace(model.experts, dispatch="dropless", biases=True)
        model = dataclasses.replace(model, experts=experts)
        seq_len = 2 * SEQ_LEN
    return RunConfig(
        model,
        DataConfig(),
        OptimizerConfig(lr=0.01, b1=B1, eps=1e-3, clip_norm=float("inf")),
        ScheduleConfig(warmup=0.0),
        BATCH * seq_len,
        seq_len,
        100 * BATCH * seq_len,
    )


class Step:
    """The compiled training step of a run on a mesh, or on one device, before its first call."""

    def __init__(self, run: RunConfig, state: tuple, mesh: jax.sharding.Mesh | None):
        compiled = training_functions(run.model, run.optimizer.name, run.schedule.name, mesh)
        *places, _ = sharding.training_shardings(models.build(run.model).axes, compiled.init, mesh)
        tokens = np.random.default_rng(1).integers(0, VOCAB, (BATCH, run.seq_len + 1), np.int32)
        self.arguments = (
            *(jax.device_put(each, place) for each, place in zip(state, places)),
            sharding.put(np.int32(0), mesh),
            sharding.put(tokens, mesh, ("batch", "length")),
            jax.tree.map(lambda x: sharding.put(x, mesh), optim.hyperparameters(run)),
        )
        self.program = compiled.step.lower(*self.arguments).compile()

    def run(self) -> dict:
        """Loss, gradients and parameters after one step, as numpy arrays."""
        params, opt_state, _, numbers = self.program(*self.arguments)
        (moments,) = [s.mu for s in jax.tree.leaves(opt_state, is_leaf=has_mu) if has_mu(s)]
        found = {"loss": numbers["loss"], "gradients": moments, "parameters": params}
        return jax.tree.map(np.asarray, found | {"gradients": jax.tree.map(lambda m: m / (1 - B1), moments)})

    def bytes(self) -> int:
        """Of the busiest moment of a step, on one device."""
        memory = self.program.memory_analysis()
        kept = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return memory.argument_size_in_bytes + memory.temp_size_in_bytes + kept


def has_mu(state) -> bool:
    return hasattr(state, "mu")


def first_state(run: RunConfig) -> tuple:
    """Parameters and optimizer state, as numpy arrays. Weights that begin at zero would let no gradient
    through to those before them, so all get a little noise."""
    compiled = training_functions(run.model, run.optimizer.name, run.schedule.name)
    params, opt_state = compiled.init(jax.random.key(0))
    noise = np.random.default_rng(0)
    shaken = jax.tree.map(lambda x: x + noise.normal(0, 0.02, x.shape).astype(np.float32), params)
    return jax.tree.map(np.asarray, (shaken, opt_state))


def error(tree, reference) -> float:
    """The largest relative error of an array of a tree: |x - reference| / |reference|, Euclidean norms."""

    def one(x, y):
        return float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-30))

    return max(jax.tree.leaves(jax.tree.map(one, tree, reference)))


def collectives(program) -> dict[str, list[list[int]]]:
    """The shape of each result, without dimensions of 1, by kind of collective."""
    text = re.sub(r"/\*.*?\*/", "", program.as_text())
    found: dict[str, list[list[int]]] = {}
    for results, kind in re.findall(
        r"= ([^=]*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", text
    ):
        for shape in re.findall(r"\w+\[([\d,]*)\]", results):
            sizes = [int(size) for size in shape.split(",") if size and int(size) > 1]
            if sizes not in found.setdefault(kind, []):
                found[kind].append(sizes)
    return found


def largest_of_a_layer(run: RunConfig) -> int:
    """Numbers in the largest array that a product may need whole: one layer's weight, or a table."""
    model = models.build(run.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    axes = jax.tree.leaves(model.axes)
    return max(
        x.size // (LAYERS if "layers" in a.copies else 1) for x, a in zip(jax.tree.leaves(shapes), axes)
    )


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)  # before jax does anything
    for family in sys.argv[1:] or (*models.FAMILIES, DROPLESS):
        run = run_config(family)
        state = first_state(run)
        alone = Step(run, state, None)
        expected = alone.run()
        for shape in MESHES.get(family, EVERYWHERE):
            print(f"{family} {shape}", file=sys.stderr, flush=True)
            step = Step(run, state, sharding.make_mesh(shape))
            found = step.run()
            row = {name: error(found[name], expected[name]) for name in expected}
            row |= {"family": family, "mesh": shape, "bytes": step.bytes(), "bytes_alone": alone.bytes()}
            row |= {"collectives": collectives(step.program), "largest": largest_of_a_layer(run)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
