"""The loss of pairs against PyTorch's and by hand; reward models that learn a known reward."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import OptimizerConfig, Recipe, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import ExamplesConfig, GoldConfig, GRPOConfig, RewardConfig
from experiments.posttraining import gold
from experiments.posttraining.data.pair_batches import data
from experiments.posttraining.reward import (
    calibration_error,
    centring_losses,
    correct,
    ensemble,
    objective,
    pair_losses,
    rewards_of,
)
from experiments.posttraining.rl.rollouts import reward_of
from models import TransformerConfig
from models.decoding.rollout import Rollout
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]


def pairs_of_rows(*pairs):
    """A batch of (prompt, chosen, rejected), each padded on the right."""
    width = max(len(prompt) + len(side) for prompt, *sides in pairs for side in sides)
    found = {
        "prompt_lengths": np.array([len(prompt) for prompt, *_ in pairs], np.int32),
        "margin": np.zeros(len(pairs), np.float32),
    }
    for k, side in enumerate(("chosen", "rejected"), 1):
        rows = [[*pair[0], *pair[k]] for pair in pairs]
        found[side] = np.array([row + [0] * (width - len(row)) for row in rows], np.int32)
        found[f"{side}_lengths"] = np.array([len(row) for row in rows], np.int32)
    return found


def test_losses_and_gradients_equal_the_golden_ones(golden):
    chosen_B, rejected_B = golden["bt_chosen"], golden["bt_rejected"]
    assert_equal(pair_losses(chosen_B, rejected_B), golden["bt_loss_per_pair"])
    assert_equal(pair_losses(chosen_B, rejected_B).mean(), golden["bt_loss"])
    assert_equal(pair_losses(chosen_B, rejected_B, golden["bt_margin"]).mean(), golden["bt_loss_margin"])
    assert_equal(correct(chosen_B, rejected_B).mean(), golden["bt_accuracy"])
    gradient_B = jax.grad(lambda chosen_B: pair_losses(chosen_B, rejected_B).mean())(chosen_B)
    assert_equal(gradient_B, golden["bt_grad_chosen"])


def test_a_margin_asks_for_more_and_equal_rewards_are_half_right():
    one, two = jnp.array([1.0]), jnp.array([2.0])
    np.testing.assert_allclose(pair_losses(two, one, 1.0), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(pair_losses(two, one), np.log1p(np.exp(-1)), rtol=1e-6)
    assert correct(jnp.array([2.0, 1.0, 1.0]), jnp.array([1.0, 2.0, 1.0])).tolist() == [1, 0, 0.5]


def test_centring_pulls_the_mean_of_a_pair_to_zero_and_leaves_its_difference():
    assert centring_losses(jnp.array([3.0, 1.0]), jnp.array([-3.0, 2.0])).tolist() == [0, 9]
    gradients = jax.grad(lambda pair: centring_losses(*pair).sum())((jnp.array([1.0]), jnp.array([2.0])))
    assert [float(g[0]) for g in gradients] == [6, 6]


def test_large_differences_do_not_overflow():
    gradient = jax.grad(lambda x: pair_losses(x, jnp.zeros(1)).sum())(jnp.array([-1e4]))
    assert gradient[0] == pytest.approx(-1)
    assert pair_losses(jnp.array([-1e4]), jnp.zeros(1))[0] == pytest.approx(1e4)


def test_ensembles_by_hand():
    rewards_KB = jnp.array([[1.0, 4.0], [3.0, 4.0], [5.0, 1.0]])
    np.testing.assert_allclose(ensemble(rewards_KB, "mean"), [3, 3])
    np.testing.assert_allclose(ensemble(rewards_KB, "min"), [1, 1])
    np.testing.assert_allclose(ensemble(rewards_KB, "uncertainty", 0.5), [3 - 8 / 6, 3 - 1], rtol=1e-6)


def test_calibration_error_by_hand():
    """Two bins: of the four unsure pairs (0.5) three are right, of the four sure ones (0.8) two."""
    sure = np.log(0.8 / 0.2)
    difference = np.array([1e-9, 1e-9, 1e-9, -1e-9, sure, sure, -sure, -sure])
    assert calibration_error(difference, np.zeros(8), 2) == pytest.approx((0.25 + 0.3) / 2, abs=1e-6)


def test_probabilities_that_come_true_are_calibrated_and_bolder_ones_are_not():
    rng = np.random.default_rng(0)
    difference = rng.normal(size=20_000)
    right = np.where(rng.random(20_000) < 1 / (1 + np.exp(-np.abs(difference))), 1, -1) * np.abs(difference)
    assert calibration_error(right, np.zeros(20_000)) < 0.02
    assert calibration_error(3 * right, np.zeros(20_000)) > 0.1


WORLD = GoldConfig(n_examples=4096, noise=0.0)
SEQ_LEN = gold.PROMPT_LENGTH + gold.MAX_NEW
RUN = RunConfig(
    model=TransformerConfig(259, d_model=32, n_layers=1, n_heads=2, n_kv_heads=2, d_head=16, d_ff=64),
    data=DataConfig(),
    optimizer=OptimizerConfig(lr=0.01),
    schedule=ScheduleConfig(),
    batch_tokens=64 * SEQ_LEN,
    seq_len=SEQ_LEN,
    n_tokens=64 * SEQ_LEN * 100,
    examples=ExamplesConfig("gold", gold=WORLD),
    objective=RewardConfig(),
)
MODEL = models.build(RUN.model)
HYPER = {"centring": jnp.float32(0.01), "margin": jnp.float32(1.0)}


@pytest.fixture(scope="module")
def trained():
    """Parameters after 100 steps on pairs of the gold world, by the objective alone."""
    reward, optimizer, read = objective(MODEL, Recipe(RewardConfig())), optax.adam(4e-3), data(RUN).training

    @jax.jit
    def step(state, batch):
        params, opt_state = state
        gradient = jax.grad(lambda params: reward.loss(params, batch, HYPER)[0])(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return optax.apply_updates(params, updates), opt_state

    params = jax.jit(reward.init)(jax.random.key(0))
    state = params, optimizer.init(params)
    for i in range(100):
        state = step(state, read(0, i, slice(None)))
    return state[0]


@pytest.mark.slow
def test_a_reward_model_learns_the_gold_reward_from_preferences(trained):
    """Of 512 held-out pairs more than chance could, which is 0.5 ± 0.022; and it starts there."""
    measure = jax.jit(objective(MODEL, Recipe(RewardConfig())).measure)
    fresh = jax.jit(objective(MODEL, Recipe(RewardConfig())).init)(jax.random.key(0))
    shown = [
        {name: float(np.mean([np.mean(measure(params, batch, HYPER, {})[name]) for batch in validation]))
         for name in ("loss", "accuracy", "gold_accuracy", "brier")}
        for params, validation in ((fresh, data(RUN).validation), (trained, data(RUN).validation))
    ]  # fmt: skip
    assert shown[0] == pytest.approx(
        {"loss": np.log(2), "accuracy": 0.5, "gold_accuracy": 0.5, "brier": 0.25}
    )
    assert shown[1]["gold_accuracy"] > 0.62 and shown[1]["accuracy"] > 0.62
    assert shown[1]["loss"] < 0.67 and shown[1]["brier"] < 0.24


def test_the_objective_reads_the_last_token_of_each_side(trained):
    """Rewards from what the network says of that token; and every measurement from them."""
    reward = objective(MODEL, Recipe(RewardConfig()))
    batch = {name: array[:4] for name, array in data(RUN).validation[0].items()}
    batch["margin"] = np.array([0.0, 0.5, 1.0, 0.25], np.float32)
    batch["gold_margin"] = np.array([1.0, -1.0, 0.0, -0.5], np.float32)
    hidden, rewards, alone = jax.jit(MODEL.hidden), jax.jit(rewards_of(MODEL)), {}
    for side in ("chosen", "rejected"):
        tokens_BT, lengths_B = batch[side], batch[f"{side}_lengths"]
        x_BTD, _ = hidden(trained["body"], tokens_BT)
        last_BD = np.asarray(x_BTD)[np.arange(4), lengths_B - 1]
        alone[side] = (last_BD @ trained["head"]["w"] + trained["head"]["b"])[:, 0]
        found_B = rewards(trained, tokens_BT, batch["prompt_lengths"], lengths_B)
        np.testing.assert_allclose(found_B, alone[side], atol=1e-5)
    margin_B = alone["chosen"] - alone["rejected"]

    hyper = {"centring": jnp.float32(0.3), "margin": jnp.float32(2.0)}
    shown = jax.jit(reward.measure)(trained, batch, hyper, {})
    loss_B = np.log1p(np.exp(-(margin_B - 2 * batch["margin"])))
    np.testing.assert_allclose(shown["reward_margin"], margin_B, atol=1e-5)
    np.testing.assert_allclose(shown["reward_mean"], (alone["chosen"] + alone["rejected"]) / 2, atol=1e-5)
    np.testing.assert_allclose(shown["loss"], loss_B, atol=1e-5)
    np.testing.assert_allclose(shown["brier"], (1 / (1 + np.exp(margin_B))) ** 2, atol=1e-5)
    np.testing.assert_array_equal(shown["accuracy"], margin_B > 0)
    confidence_B = 1 / (1 + np.exp(-np.abs(margin_B)))
    np.testing.assert_allclose(shown["overconfidence"], confidence_B - (margin_B > 0), atol=1e-5)
    true_B = batch["gold_margin"]
    agree_B = np.where(true_B == 0, 0.5, np.sign(true_B) == np.sign(margin_B))
    np.testing.assert_allclose(shown["gold_accuracy"], agree_B)

    loss, (weight, measured) = jax.jit(reward.loss)(trained, batch, hyper)
    assert weight == 4 and float(measured["loss"]) == pytest.approx(float(loss_B.mean()), abs=1e-5)
    centring = ((alone["chosen"] + alone["rejected"]) ** 2).mean()
    assert float(loss) == pytest.approx(float(loss_B.mean() + 0.3 * centring), abs=1e-4)


def test_a_tie_is_half_a_label_either_way(trained):
    """Its loss is the mean of both orders', whatever its margin; it is neither right nor wrong."""
    reward = objective(MODEL, Recipe(RewardConfig()))
    batch = {name: array[:4] for name, array in data(RUN).validation[0].items()}
    batch |= {"tie": np.array([1, 0, 0, 1], np.float32), "margin": np.full(4, 0.5, np.float32)}
    shown = jax.jit(reward.measure)(trained, batch, HYPER, {})
    d_B, is_tie_B = np.asarray(shown["reward_margin"]), batch["tie"] > 0
    loss_B = np.where(is_tie_B, np.log1p(np.exp([-d_B, d_B])).mean(axis=0), np.log1p(np.exp(0.5 - d_B)))
    np.testing.assert_allclose(shown["loss"], loss_B, rtol=1e-5)
    np.testing.assert_allclose(shown["accuracy"], np.where(is_tie_B, 0.5, d_B > 0))
    p_B = 1 / (1 + np.exp(-d_B))
    np.testing.assert_allclose(shown["brier"], (np.where(is_tie_B, 0.5, 1) - p_B) ** 2, rtol=1e-4)
    _, (_, measured) = jax.jit(reward.loss)(trained, batch, HYPER)
    assert float(measured["loss"]) == pytest.approx(loss_B.mean(), rel=1e-5)
    assert float(measured["accuracy"]) == pytest.approx(np.where(is_tie_B, 0.5, d_B > 0).mean())


def test_reinforcement_learning_takes_the_same_number_as_reward(trained):
    batch = {name: array[:4] for name, array in data(RUN).validation[0].items()}
    rows = batch["rejected"], batch["prompt_lengths"], batch["rejected_lengths"]
    recipe = Recipe(GRPOConfig(reward="a run"), reward_model=RUN.model)
    rolled = Rollout(*rows, jnp.zeros((4, SEQ_LEN - 1)), jnp.ones(4, bool))
    found_B = jax.jit(lambda params: reward_of(recipe, {"reward": params}, rolled, {}, {}))(trained)
    expected_B = jax.jit(rewards_of(MODEL))(trained, *rows)
    np.testing.assert_allclose(found_B, expected_B, atol=1e-6)
    assert len(set(expected_B.tolist())) == 4


def test_a_checkpoint_becomes_the_body_under_a_new_head():
    reward = objective(MODEL, Recipe(RewardConfig()))
    fresh, network = {"body": {}, "head": {"w": np.zeros(2)}}, {"embed": np.ones(3)}
    params = reward.place(fresh, network)
    assert params["body"] is network and params["head"] is fresh["head"]
    assert reward.network(params) is network and reward.new == ("head/*",)


@pytest.mark.slow
def test_with_an_encoder_the_reward_is_read_where_the_decoder_ends():
    """Row by row and without padding; the decoder begins with the last token of the prompt."""
    model = models.build(models.ladder(16, 20, "encdec"))
    reward = objective(model, Recipe(RewardConfig()))
    params = jax.jit(reward.init)(jax.random.key(0))
    drawn = np.random.default_rng(0)
    params["head"] = jax.tree.map(lambda x: drawn.normal(size=x.shape).astype(np.float32), params["head"])
    batch = pairs_of_rows(([5, 6, 7], [8, 1], [9, 9, 9, 1]), ([4], [3, 2, 1], [1]))
    alone = {}
    for side in ("chosen", "rejected"):
        alone[side] = np.zeros(2, np.float32)
        for i, start in enumerate(batch["prompt_lengths"]):
            tokens = batch[side][i : i + 1, : batch[f"{side}_lengths"][i]]
            said, source = tokens[:, start - 1 :], tokens[:, : max(start - 1, 1)]
            x_D = model.hidden(params["body"], said, source_BS=source)[0][0, -1]
            alone[side][i] = (x_D @ params["head"]["w"] + params["head"]["b"])[0]
    shown = jax.jit(reward.measure)(params, batch, HYPER, {})
    margin_B = alone["chosen"] - alone["rejected"]
    np.testing.assert_allclose(shown["reward_margin"], margin_B, atol=1e-5)
    _, (_, measured) = jax.jit(reward.loss)(params, batch, HYPER)
    assert float(measured["loss"]) == pytest.approx(np.log1p(np.exp(-margin_B)).mean(), rel=1e-5)


def test_a_network_with_an_encoder_learns_which_response_is_preferred_to_which_prompt():
    """The same two responses, in the other order to the other prompt: the encoder has to be read."""
    model = models.build(models.ladder(16, 20, "encdec"))
    reward, optimizer = objective(model, Recipe(RewardConfig())), optax.adam(1e-2)
    batch = pairs_of_rows(([5, 6, 7], [8, 1], [9, 1]), ([5, 4, 7], [9, 1], [8, 1]))

    def step(state, _):
        params, opt_state = state
        gradient = jax.grad(lambda params: reward.loss(params, batch, HYPER)[0])(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    params = jax.jit(reward.init)(jax.random.key(0))
    run = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), length=60)[0][0])
    shown = jax.jit(reward.measure)(run(params), batch, HYPER, {})
    assert (shown["accuracy"] == 1).all() and (shown["loss"] < 0.3).all()
