"""What depth costs to compile, and what recomputation saves in memory.

    python -m benchmarks.experiments.depth

Compiles the training step of a width-64 transformer with 4 and with 48 layers, nothing cached, and prints the
bytes that XLA plans for the step with and without recomputation (`remat`).
"""

import dataclasses
import time

import jax
import jax.numpy as jnp

from benchmarks.experiments.stepper import run_config
from experiments.training import optim
from experiments.training.train import training_functions
from models import TransformerConfig, ladder

BATCH, SEQ_LEN = 4, 256


def compiled_step(model: TransformerConfig) -> tuple[float, int]:
    """Seconds to trace and compile the training step, and the bytes of its temporary arrays."""
    hyper = optim.hyperparameters(run_config(model, BATCH, SEQ_LEN))
    made = training_functions(model, "adamw", "wsd")
    params, opt_state = jax.eval_shape(made.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((BATCH, SEQ_LEN + 1), jnp.int32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    began = time.perf_counter()
    program = made.step.lower(params, opt_state, step, tokens, hyper).compile()
    return time.perf_counter() - began, program.memory_analysis().temp_size_in_bytes


def main() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    compiled_step(ladder(64, 259, n_layers=3))  # the first program also starts the compiler
    for n_layers in (4, 48):
        for remat in (False, True):
            model = dataclasses.replace(ladder(64, 259), n_layers=n_layers, remat=remat)
            seconds, temporary = compiled_step(model)
            mib = temporary / 2**20
            print(f"{n_layers} layers  remat {remat!s:<5}  compile {seconds:.2f} s  memory {mib:.0f} MiB")


if __name__ == "__main__":
    main()
