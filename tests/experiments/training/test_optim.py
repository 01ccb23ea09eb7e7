"""Schedules at their corners; optimizers by hand; which updates what; one compilation for all numbers."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import KNOWN_OPTIMIZERS, OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import optim
from models import MuP, TransformerConfig, ladder
from models.model import Model
from models.parameters import Axes, parse_axes


def run(schedule: ScheduleConfig, n_steps: int = 100, **numbers) -> RunConfig:
    optimizer = OptimizerConfig(**({"lr": 0.5} | numbers))
    return RunConfig(ladder(16, 259), DataConfig(), optimizer, schedule, 64, 8, 64 * n_steps)


def rates(config: RunConfig) -> np.ndarray:
    hyper = optim.hyperparameters(config)
    steps = jnp.arange(config.n_steps)
    return np.array(jax.vmap(lambda s: optim.learning_rate(config.schedule.name, s, hyper))(steps))


def test_wsd_warms_up_holds_and_decays_linearly():
    lr = rates(run(ScheduleConfig("wsd", warmup=0.1, decay=0.2, final=0.1)))
    np.testing.assert_allclose(lr[:10], 0.5 * (np.arange(10) + 0.5) / 10, rtol=1e-5)
    np.testing.assert_allclose(lr[10:80], 0.5, rtol=1e-6)
    np.testing.assert_allclose(lr[80:], 0.5 - 0.45 * (np.arange(20) + 0.5) / 20, rtol=1e-4)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_bends_the_decay(power):
    lr = rates(run(ScheduleConfig("wsd", warmup=0.1, decay=0.5, decay_power=power), 1000)) / 0.5
    assert np.allclose(lr[100:500], 1) and lr[750] == pytest.approx(1 - 0.5**power, abs=0.002)
    assert np.all(np.diff(lr[500:]) < 0)
    with pytest.raises(ValueError, match="decay_power=0"):
        ScheduleConfig(decay_power=0.0)


def test_cosine_falls_from_peak_to_final():
    lr = rates(run(ScheduleConfig("cosine", warmup=0.1, decay=0.0, final=0.2)))
    assert lr.argmax() in (10, 11) and np.isclose(lr.max(), 0.5, rtol=1e-3)
    assert np.isclose(lr[-1], 0.1, rtol=0.01)
    assert np.isclose(lr[54], 0.3, rtol=0.02)  # half way down


@pytest.mark.parametrize("n_steps", [30, 97, 1000])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5, 0.7])
def test_before_they_decay_runs_of_any_length_have_the_same_rates_to_the_bit(n_steps, decay):
    short = run(ScheduleConfig("wsd", decay=decay, warmup_tokens=64 * 7 + 3), n_steps)
    long = run(ScheduleConfig("wsd", decay=0.1, final=0.2, warmup_tokens=64 * 7 + 3), 5000)
    n = short.branch_step
    assert n > 7 and rates(short)[:n].tobytes() == rates(long)[:n].tobytes()
    np.testing.assert_allclose(rates(long)[:7], 0.5 * (np.arange(7) + 0.5) / (7 + 3 / 64), rtol=1e-6)
    if decay:
        assert rates(short)[n + 1] < 0.5 == rates(short)[n - 1]


def test_cosine_falls_from_where_a_warm_up_in_tokens_ends():
    steps, part = (
        rates(run(ScheduleConfig("cosine", decay=0.0, **w)))
        for w in ({"warmup_tokens": 640}, {"warmup": 0.1})
    )
    np.testing.assert_allclose(steps, part, rtol=1e-5)


@pytest.mark.parametrize("warmup, decay", [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_schedules_are_finite_at_their_extremes(warmup, decay):
    for name in ("wsd", "cosine"):
        assert np.isfinite(rates(run(ScheduleConfig(name, warmup, decay)))).all()


GPT2 = TransformerConfig(  # all kinds of parameters a dense model has
    vocab_size=61, d_model=16, n_layers=3, n_heads=2, n_kv_heads=2, d_head=8, d_ff=24, norm="layer",
    positions="learned", max_len=16, qkv_bias=True, output_bias=True, mlp_bias=True, qk_norm="head",
)  # fmt: skip


def hyperparameters(**numbers) -> optim.Hyper:
    return optim.hyperparameters(run(ScheduleConfig(), **numbers))


def network(axes: dict[str, Any]) -> Model:
    """A model of which only the parameters matter; axes are given in their notation."""
    axes = jax.tree.map(parse_axes, axes)
    return Model(SimpleNamespace(mup=None), *5 * (lambda: None,), axes=axes)


def updates_of(name: str, model: Model, hyper: optim.Hyper, params, grads, lr: float = 1.0):
    """What the first step adds to the parameters."""
    step = optim.optimizer(name, model, hyper, jnp.float32(lr))
    return jax.jit(step.update)(grads, optim.init_state(name, model, params), params)[0]


@pytest.fixture(scope="module")
def gpt2():
    """A model, its parameters moved off their initial values, and a gradient like them."""
    model = models.build(GPT2)
    params, rng = jax.jit(model.init)(jax.random.key(1)), np.random.default_rng(0)

    def noise(p):
        return jnp.asarray(0.1 * rng.standard_normal(p.shape), jnp.float32)

    return model, jax.tree.map(lambda p: p + noise(p), params), jax.tree.map(noise, params)


def test_adamw_step_by_hand():
    """First step: update = -lr · (g/|g| + wd · p), as the corrected moments cancel; scales do not decay."""
    hyper = hyperparameters(weight_decay=0.25, clip_norm=np.inf, eps=0.0)
    model = network({"layer": {"w": "embed -> mlp", "scale": "-> embed"}})
    params = {"layer": {"w": jnp.array([[2.0, -4.0]]), "scale": jnp.array([3.0])}}
    grads = {"layer": {"w": jnp.array([[0.1, 5.0]]), "scale": jnp.array([-7.0])}}
    updates = updates_of("adamw", model, hyper, params, grads, lr=0.5)
    np.testing.assert_allclose(updates["layer"]["w"], [[-0.5 * (1 + 0.5), -0.5 * (1 - 1.0)]], atol=1e-6)
    np.testing.assert_allclose(updates["layer"]["scale"], [0.5], rtol=1e-5)


def test_lion_steps_by_hand():
    """c = b1·m + (1-b1)·g gives the sign, m then follows the gradient with b2."""
    hyper = hyperparameters(b1=0.9, b2=0.5, weight_decay=0.5, clip_norm=np.inf)
    model, params = network({"w": "embed -> mlp"}), {"w": jnp.array([[2.0, -2.0, 1.0]])}
    step = optim.optimizer("lion", model, hyper, jnp.float32(0.1))
    state = optim.init_state("lion", model, params)
    updates, state = step.update({"w": jnp.array([[3.0, -0.2, 0.0]])}, state, params)
    np.testing.assert_allclose(updates["w"], [[-0.1 * (1 + 1), -0.1 * (-1 - 1), -0.1 * 0.5]], rtol=1e-5)
    # m = 0.5 g = (1.5, -0.1, 0); c = 0.9 m + 0.1 g' = (1.35 - 1, -0.09 + 0.1, 0.1)
    updates, _ = step.update({"w": jnp.array([[-10.0, 1.0, 1.0]])}, state, params)
    np.testing.assert_allclose(updates["w"], [[-0.1 * (1 + 1), -0.1 * (1 - 1), -0.1 * 1.5]], rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    hyper = hyperparameters(clip_norm=1.0, b1=0.0, b2=0.0, eps=1.0, weight_decay=0.0)
    model = network({"a": "-> embed", "b": "-> embed"})
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    grads = {"a": jnp.array([6.0, 0.0]), "b": jnp.array([8.0])}
    updates = updates_of("adamw", model, hyper, params, grads)
    clipped = {"a": np.array([0.6, 0]), "b": np.array([0.8])}
    jax.tree.map(
        lambda u, g: np.testing.assert_allclose(u, -g / (np.abs(g) + 1), rtol=1e-5), updates, clipped
    )
    assert optax.tree.norm(clipped) == pytest.approx(1.0)


def test_without_mup_adamw_is_that_of_optax(gpt2):
    """The same compiled operations, hence the same bits, as optax.adamw behind clipping."""
    model, params, grads = gpt2
    hyper, lr = hyperparameters(weight_decay=0.3), jnp.float32(0.01)
    decayed = jax.tree.map(lambda a: bool(a.inputs), model.axes)

    def theirs(hyper, lr):
        numbers = {name: hyper[name] for name in ("b1", "b2", "eps", "weight_decay")}
        return optax.chain(
            optax.clip_by_global_norm(hyper["clip_norm"]), optax.adamw(lr, **numbers, mask=decayed)
        )

    def two_steps(make):
        def steps(params, hyper, lr):
            state = make({name: 1.0 for name in hyper}, 1.0).init(params)
            for _ in range(2):
                updates, state = make(hyper, lr).update(grads, state, params)
                params = optax.apply_updates(params, updates)
            return params

        return jax.jit(steps)(params, hyper, lr)

    ours = two_steps(lambda hyper, lr: optim.optimizer("adamw", model, hyper, lr))
    jax.tree.map(np.testing.assert_array_equal, ours, two_steps(theirs))


def test_optimizers_that_plans_take_unseen_are_there():
    assert set(KNOWN_OPTIMIZERS) <= optim.OPTIMIZERS.keys()


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_matrices_and_tables_decay_and_vectors_do_not(name, gpt2):
    """With no gradient only decay moves a parameter."""
    model, params, grads = gpt2
    zeros = jax.tree.map(jnp.zeros_like, grads)
    updates = updates_of(name, model, hyperparameters(weight_decay=0.5), params, zeros)
    moved = {path for path, u in leaves(updates) if np.abs(u).max() > 0}
    assert moved == {
        *("ends/embedding", "ends/position", "ends/head", "blocks/mlp/w_gate"),
        *(f"blocks/attention/w_{x}" for x in "qkvo"),
        *("blocks/mlp/w_up", "blocks/mlp/w_down"),
    }


def leaves(tree) -> list[tuple[str, Any]]:
    """(path, leaf) with paths like "blocks/mlp/w_up"."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [("/".join(str(key.key) for key in path), leaf) for path, leaf in found]


@pytest.mark.parametrize(
    "axes, hidden",
    [
        ("embed -> mlp", True),
        ("heads head -> embed", True),
        ("layers: embed -> kv_heads head", True),
        ("layers experts: mlp -> embed", True),
        ("vocab -> embed", False),
        ("positions -> embed", False),
        ("embed -> vocab", False),
        ("layers: embed -> experts", False),  # a router is a head of its own
        ("layers: embed -> rank", False),
        ("layers: rank -> embed", False),
        ("layers: -> embed", False),
        ("layers: -> heads head", False),
    ],
)
def test_muon_has_the_hidden_matrices(axes, hidden):
    assert optim.is_hidden(parse_axes(axes)) == hidden


def test_every_parameter_is_either_muons_or_adams(gpt2):
    """Adam's first step has entries ±1; Muon's has singular values near √(fan-out / fan-in), 1 at least."""
    model, params, grads = gpt2
    hyper = hyperparameters(weight_decay=0.0, clip_norm=np.inf, eps=1e-12)
    axes, by_muon = dict(leaves(model.axes)), set()
    for path, update in leaves(updates_of("muon", model, hyper, params, grads)):
        if not np.allclose(np.abs(update), 1, atol=1e-3):
            by_muon.add(path)
            fan_in, fan_out = fans(axes[path], update.shape)
            for layer in update:
                values = np.linalg.svd(layer.reshape(fan_in, fan_out), compute_uv=False)
                values /= max(1, fan_out / fan_in) ** 0.5
                # Newton and Schulz's five steps do not lift a value near zero, as square matrices have one.
                assert len(values) == min(fan_in, fan_out) and values[:-1].min() > 0.6 and values[0] < 1.3
    attention = {f"blocks/attention/w_{x}" for x in "qkvo"}
    assert by_muon == attention | {f"blocks/mlp/w_{x}" for x in ("gate", "up", "down")}


def fans(a: Axes, shape: tuple[int, ...]) -> tuple[int, int]:
    middle = len(a.copies) + len(a.inputs)
    return int(np.prod(shape[len(a.copies) : middle])), int(np.prod(shape[middle:]))


def test_stacked_muon_is_muon_of_each_slice():
    """Layers and experts are copies, heads and head one side: equal to optax's muon on each 2-D slice."""
    hyper = hyperparameters(weight_decay=0.0, clip_norm=np.inf, b1=0.95)
    model = network({"w_q": "layers experts: embed -> heads head", "w_o": "layers: heads head -> embed"})
    shapes = {"w_q": (2, 3, 16, 4, 6), "w_o": (2, 4, 6, 16)}
    grads = {name: jax.random.normal(jax.random.key(len(s)), s) for name, s in shapes.items()}
    updates = updates_of("muon", model, hyper, grads, grads)
    alone = optax.contrib.muon(1.0, beta=0.95)
    for name, flat in (("w_q", (6, 16, 24)), ("w_o", (2, 24, 16))):
        for ours, slice_IO in zip(updates[name].reshape(flat), grads[name].reshape(flat)):
            theirs, _ = alone.update(slice_IO, alone.init(slice_IO), slice_IO)
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_runs_that_differ_in_numbers_share_one_compilation(name, gpt2):
    """All hyperparameters are traced, and they matter."""
    model, params, grads = gpt2

    @jax.jit
    def step(params, state, hyper, lr):
        updates, state = optim.optimizer(name, model, hyper, lr).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def ends(**numbers):
        lr, hyper = jnp.float32(numbers.pop("lr", 0.01)), hyperparameters(**numbers)
        once = step(params, optim.init_state(name, model, params), hyper, lr)
        return step(*once, hyper, lr)[0]

    first = ends()
    for change in ({"lr": 0.02}, {"b1": 0.5}, {"weight_decay": 0.0}, {"clip_norm": 1e-4, "eps": 1e-3}):
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), first, ends(**change))
        assert max(jax.tree.leaves(moved)) > 0 or (name == "lion" and set(change) != {"lr", "weight_decay"})
    assert step._cache_size() == 1


def test_adam_under_mup_has_a_rate_a_decay_and_an_epsilon_for_each_parameter():
    """At four times the base width and twice its depth, against Adam by hand with these numbers."""
    axes = {"w": "layers: embed -> mlp", "scale": "layers: -> embed", "head": "embed -> vocab"}
    config = SimpleNamespace(mup=MuP(4, 1, 4), d_model=16, n_layers=2, d_head=4)
    model = dataclasses.replace(network(axes), config=config)
    hyper = hyperparameters(weight_decay=0.1, clip_norm=np.inf, eps=0.2)
    params = {"w": jnp.full((2, 16, 1), 3.0), "scale": jnp.full((2, 16), 3.0), "head": jnp.full((16, 1), 3.0)}
    grads = jax.tree.map(lambda p: jnp.full(p.shape, 0.05), params)
    updates = updates_of("adamw", model, hyper, params, grads, lr=0.01)
    by_hand = {  # lr · (g / (|g| + ε) + decay · p)
        "w": -0.01 / 4 * (0.05 / (0.05 + 0.2 / 8) + 0.1 * 4 * 3),
        "scale": -0.01 * (0.05 / (0.05 + 0.2 / 8)),
        "head": -0.01 * (0.05 / (0.05 + 0.2 / 4) + 0.1 * 3),
    }
    for name, number in by_hand.items():
        np.testing.assert_allclose(updates[name], np.full(params[name].shape, number), rtol=1e-5)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="there are adamw, muon, lion"):
        optim.optimizer("sgd", network({}), hyperparameters(), jnp.float32(1.0))
