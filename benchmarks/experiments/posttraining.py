"""Where the time of post-training goes: fine-tuning beside pretraining, and the parts of a PPO step.

    python -m benchmarks.experiments.posttraining

Supervised fine-tuning and pretraining make the same step on rows of the same size; the rows of the former
hold several texts, and weights. A PPO step is timed as training makes it, its batch read and put on the
device, and apart: rollouts, what else is collected (scores, log-probabilities of policy and reference,
values, advantages) and the updates; the rest is overhead. Times are CPU seconds of the process, all threads,
taken in turns: what else a busy machine does is not in them.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import models
from experiments.config import OptimizerConfig, Recipe, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import ExamplesConfig, GoldConfig, InitConfig, PPOConfig, SFTConfig
from experiments.posttraining.rl import ppo, rollouts
from experiments.training import optim
from experiments.training.gradients import gradients, over_minibatches
from experiments.training.objectives import data_of
from experiments.training.train import training_batch, training_functions
from models import ladder

MODEL = ladder(64, 259)
BATCH, SEQ_LEN, TEXTS = 16, 128, 4
N_STEPS, N_ROUNDS = 5, 4


def seconds(step: Callable[[], Any], n: int = N_STEPS) -> float:
    """CPU seconds of a call, the mean of n."""
    began = time.process_time()
    for _ in range(n):
        out = step()
    jax.block_until_ready(out)
    return (time.process_time() - began) / n


def in_turns(steps: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of each call: the least of several rounds."""
    for step in steps.values():
        jax.block_until_ready(step())
    rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(N_ROUNDS)]
    return {name: min(each[name] for each in rounds) for name in steps}


def run_config(**changes: Any) -> RunConfig:
    sizes: dict[str, Any] = {"batch_tokens": BATCH * SEQ_LEN, "seq_len": SEQ_LEN, "n_tokens": 10**9}
    return RunConfig(MODEL, DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), **sizes | changes)


def text_step(config: RunConfig, recipe: Recipe, batch: Any) -> Callable[[], Any]:
    """A training step on a batch that is there already."""
    compiled = training_functions(MODEL, "adamw", "wsd", None, 1, recipe)
    hyper, state = optim.hyperparameters(config), [*compiled.init(jax.random.key(0)), jnp.int32(0)]

    def step() -> jax.Array:
        *state[:], numbers = compiled.step(*state, batch, hyper)
        return numbers["loss"]

    return step


def supervised() -> None:
    """Tokens a second of fine-tuning and of pretraining."""
    tokens_BT = jax.random.randint(jax.random.key(1), (BATCH, SEQ_LEN + 1), 0, MODEL.vocab_size)
    segments_BT = jnp.broadcast_to(1 + jnp.arange(SEQ_LEN + 1) * TEXTS // (SEQ_LEN + 1), tokens_BT.shape)
    weights_BT = (jnp.arange(SEQ_LEN + 1) % 32 > 12).astype(jnp.float32) * jnp.ones_like(tokens_BT)
    packed = {"tokens": tokens_BT, "segments": segments_BT, "weights": weights_BT}
    found = in_turns(
        {
            "pretraining": text_step(run_config(), Recipe(), tokens_BT),
            "fine-tuning": text_step(run_config(), Recipe(objective=SFTConfig()), packed),
        }
    )
    for name, each in found.items():
        print(f"{name}: {each * 1e3:.1f} ms a step, {BATCH * SEQ_LEN / each:,.0f} tokens/s")
    print(f"fine-tuning makes {found['pretraining'] / found['fine-tuning']:.1%} of pretraining's tokens/s")


def policy_optimization(rows: int = 64, max_new: int = 16, seq_len: int = 38) -> None:
    """Shares of a PPO step on the gold world's prompts."""
    objective_config = PPOConfig(max_new=max_new)
    config = run_config(
        batch_tokens=rows * seq_len,
        seq_len=seq_len,
        init=InitConfig("start"),
        examples=ExamplesConfig("gold", gold=GoldConfig(n_examples=1024)),
        objective=objective_config,
    )
    model, recipe, data = models.build(MODEL), config.recipe, data_of(config)
    compiled = training_functions(MODEL, "adamw", "wsd", None, 1, recipe)
    network = jax.jit(model.init)(jax.random.key(0))
    fixed, hyper = {"reference": network}, optim.hyperparameters(config)
    objective = ppo.objective(model, recipe)
    collect_once = objective.collect
    assert collect_once is not None
    state = [*compiled.init(jax.random.key(0), network), jnp.int32(0)]
    begun = jax.tree.map(jnp.copy, state[:2])
    batch = jax.tree.map(jnp.asarray, training_batch(data, [config], 1, None))
    number = [0]

    def step() -> Any:
        number[0] += 1
        rows = training_batch(data, [config], number[0], None)
        *state[:], measured = compiled.step(*state, rows, hyper, fixed)
        return measured

    @jax.jit
    def rollout(params: Any) -> Any:
        return rollouts.respond(model, recipe, params["policy"], batch, hyper)

    @jax.jit
    def collect(params: Any) -> Any:
        return collect_once(params, batch, hyper, fixed)

    @jax.jit
    def update(state: Any, experience: Any) -> Any:
        def one(state: Any, rows: Any) -> Any:
            grads, measured = gradients(lambda p, b: objective.loss(p, b, hyper), state[0], rows, 1)
            optimizer = optim.optimizer("adamw", trained, hyper, jnp.float32(1e-3))
            updates, opt_state = optimizer.update(grads, state[1], state[0])
            return (jax.tree.map(jnp.add, state[0], updates), opt_state), measured

        return over_minibatches(one, state, experience, objective)

    trained = dataclasses.replace(model, axes=objective.axes)
    experience, _ = collect(begun[0])
    found = in_turns(
        {
            "step": step,
            "rollouts": lambda: rollout(begun[0]),
            "collect": lambda: collect(begun[0]),
            "updates": lambda: update(tuple(begun), experience),
        }
    )
    n_updates = objective.epochs * objective.minibatches
    print(
        f"PPO, {rows} rollouts of {max_new} tokens, {n_updates} updates: {found['step'] * 1e3:.1f} ms a step"
    )
    inside = found["collect"] + found["updates"]
    shares = {
        "rollouts": found["rollouts"],
        "scores, log-probabilities, advantages": found["collect"] - found["rollouts"],
        "updates": found["updates"],
        "overhead": found["step"] - inside,
    }
    for name, each in shares.items():
        print(f"  {name}: {each * 1e3:.1f} ms, {each / found['step']:.1%}")
    mismatch = np.asarray(collect(begun[0])[1]["mismatch"])
    print(f"  sampler and trainer differ by {mismatch:.1e} nats at most")


if __name__ == "__main__":
    supervised()
    policy_optimization()
