"""DPO's losses against PyTorch's, by hand, and at the optimum that the theory gives."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import Recipe
from experiments.objective_configs import DPOConfig
from experiments.posttraining.dpo import (
    LOSSES,
    dpo_losses,
    hinge_losses,
    ipo_losses,
    log_ratio_margin,
    objective,
)
from experiments.posttraining.enumerable import list_responses, optimum, response_logps, total_variation
from tests.experiments.posttraining.golden import assert_equal, golden
from tests.experiments.posttraining.rl import enumerated
from tests.experiments.posttraining.table_policy import table_policy
from tests.experiments.posttraining.test_reward import pairs_of_rows

__all__ = ["golden"]


def h(golden, **replaced):
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    return log_ratio_margin(*(replaced.get(name, golden[f"dpo_{name}"]) for name in names))


def test_losses_equal_the_golden_ones(golden):
    beta, smoothing = golden["dpo_beta"], golden["dpo_label_smoothing"]
    assert_equal(dpo_losses(h(golden), beta), golden["dpo_loss_per_pair"])
    assert_equal(dpo_losses(h(golden), beta).mean(), golden["dpo_loss"])
    assert_equal(dpo_losses(h(golden), beta, smoothing).mean(), golden["cdpo_loss"])
    assert_equal(ipo_losses(h(golden), beta).mean(), golden["ipo_loss"])
    assert_equal(hinge_losses(h(golden), beta).mean(), golden["hinge_loss"])


def test_the_margin_is_that_of_the_golden_implicit_rewards(golden):
    margin_B = golden["dpo_reward_chosen"] - golden["dpo_reward_rejected"]
    assert_equal(golden["dpo_beta"] * h(golden), margin_B)
    assert_equal((h(golden) > 0).mean(), golden["dpo_accuracy"])


@pytest.mark.parametrize("side", ["policy_chosen", "policy_rejected"])
def test_gradients_equal_the_golden_ones(side, golden):
    def loss(logps_B):
        return dpo_losses(h(golden, **{side: logps_B}), golden["dpo_beta"]).mean()

    assert_equal(jax.grad(loss)(golden[f"dpo_{side}"]), golden[f"dpo_grad_{side}"])


@pytest.mark.parametrize("name", LOSSES)
def test_smoothing_one_half_does_not_prefer_either_side(name):
    h_B = jnp.array([0.7, -3.0, 12.0])
    losses = LOSSES[name]
    np.testing.assert_allclose(losses(h_B, 0.2, 0.5), losses(-h_B, 0.2, 0.5), rtol=1e-6)
    np.testing.assert_allclose(losses(h_B, 0.2, 1.0), losses(-h_B, 0.2), rtol=1e-6)


def test_by_hand():
    h_B = jnp.array([2.0, -2.0])
    np.testing.assert_allclose(LOSSES["ipo"](h_B, 0.25), [0, 16], rtol=1e-6)
    np.testing.assert_allclose(LOSSES["hinge"](h_B, 0.25), [0.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(LOSSES["dpo"](h_B, 0.5), np.log1p(np.exp([-1.0, 1.0])), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_a_smoothed_losss_least_is_at_the_log_odds_of_the_labels(smoothing):
    """cDPO's h is logit(1 − ε)/β: finite, where DPO's is infinite."""
    best = np.log((1 - smoothing) / smoothing) / 0.2
    gradient = jax.grad(lambda h: dpo_losses(h, 0.2, smoothing))(best)
    assert abs(gradient) < 1e-6


RESPONSES = list_responses(vocab_size=3, max_length=3)
PROMPT_P = jnp.array([2, 0])
N_RESPONSES = len(RESPONSES.lengths_R)
ROWS_RT = jnp.concatenate([jnp.tile(PROMPT_P, (N_RESPONSES, 1)), RESPONSES.tokens_RT], axis=1)
REWARDS_R = jax.random.normal(jax.random.key(1), (N_RESPONSES,))
POLICY = table_policy(3, max_tokens=5)


def pairs(chosen_B, rejected_B) -> dict[str, jax.Array]:
    """A batch of the responses with these numbers."""
    lengths_R = jnp.asarray(RESPONSES.lengths_R) + len(PROMPT_P)
    return {
        "chosen": ROWS_RT[chosen_B],
        "rejected": ROWS_RT[rejected_B],
        "chosen_lengths": lengths_R[chosen_B],
        "rejected_lengths": lengths_R[rejected_B],
        "prompt_lengths": jnp.full(len(chosen_B), len(PROMPT_P)),
        "margin": jnp.zeros(len(chosen_B)),
    }


def hyper(beta: float, label_smoothing: float = 0.0) -> dict[str, jax.Array]:
    return {"beta": jnp.float32(beta), "label_smoothing": jnp.float32(label_smoothing)}


@pytest.mark.slow
def test_a_transformer_learns_the_optimal_policy_from_labels_of_the_exact_model():
    """Every two of its 40 responses, each labelled 1,000 times by Bradley and Terry's model. The mean loss of
    a pair's labels, of which a share says otherwise, is that of one label with this smoothing."""
    (model, start), prompt_P, all_R = enumerated.network(), enumerated.PROMPT, enumerated.ALL
    dpo, beta, n_labels, n_steps = objective(model, Recipe(DPOConfig())), 0.5, 1000, 400
    rows_RT = np.concatenate([np.tile(prompt_P, (len(all_R.lengths_R), 1)), all_R.tokens_RT], axis=1)
    lengths_R, rewards_R = all_R.lengths_R + len(prompt_P), enumerated.REWARDS_R
    first_B, second_B = np.triu_indices(len(rewards_R), 1)
    wins_B = np.random.default_rng(0).binomial(
        n_labels, jax.nn.sigmoid(rewards_R[first_B] - rewards_R[second_B])
    )
    settings = hyper(beta) | {"label_smoothing": jnp.asarray(1 - wins_B / n_labels, jnp.float32)}
    labelled = {
        "chosen": rows_RT[first_B],
        "rejected": rows_RT[second_B],
        "chosen_lengths": lengths_R[first_B],
        "rejected_lengths": lengths_R[second_B],
        "prompt_lengths": np.full(len(first_B), len(prompt_P)),
        "margin": np.zeros(len(first_B), np.float32),
    }
    batch, _ = jax.jit(lambda: dpo.collect(start, labelled, settings, {"reference": start}))()  # type: ignore[misc]
    optimizer = optax.adam(optax.cosine_decay_schedule(0.01, n_steps), b2=0.99)

    def step(state, _):
        params, opt_state = state
        gradient = jax.grad(lambda params: dpo.loss(params, batch, settings)[0])(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    train = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=n_steps)[0][0])
    logps = jax.jit(lambda params: response_logps(model, params, prompt_P, all_R))
    trained_R, reference_R = logps(train()), logps(start)
    best_R, _ = optimum(reference_R, rewards_R, beta)
    assert total_variation(reference_R, best_R) > 0.5
    assert total_variation(trained_R, best_R) < 0.02


@pytest.mark.parametrize("name", LOSSES)
def test_the_objective_is_the_loss_of_the_responses_exact_log_probabilities(name):
    """Against all responses listed: prompt and padding do not count, the reference is what `fixed` has."""
    dpo = objective(POLICY, Recipe(DPOConfig(loss=name)))
    params, reference = POLICY.init(jax.random.key(3)), POLICY.init(jax.random.key(4))
    chosen_B, rejected_B = jnp.array([0, 5, 9, 2]), jnp.array([7, 1, 14, 3])
    policy_R, reference_R = (
        response_logps(POLICY, tree, PROMPT_P, RESPONSES) for tree in (params, reference)
    )
    h_B = (policy_R - reference_R)[chosen_B] - (policy_R - reference_R)[rejected_B]
    expected_B = LOSSES[name](h_B, 0.3, 0.1)

    batch = pairs(chosen_B, rejected_B)
    experience, _ = dpo.collect(params, batch, hyper(0.3, 0.1), {"reference": reference})  # type: ignore[misc]
    loss, (weight, measured) = dpo.loss(params, experience, hyper(0.3, 0.1))
    assert loss == pytest.approx(float(expected_B.mean()), rel=1e-5) and weight == 4
    assert measured["reward_margin"] == pytest.approx(0.3 * float(h_B.mean()), rel=1e-5)
    assert measured["accuracy"] == (h_B > 0).mean()

    shown = dpo.measure(params, batch, hyper(0.3, 0.1), {"reference": reference})
    np.testing.assert_allclose(shown["loss"], expected_B, rtol=1e-5)
    np.testing.assert_allclose(shown["reward_margin"], 0.3 * h_B, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(shown["chosen_logp"], policy_R[chosen_B], rtol=1e-5)
    np.testing.assert_allclose(shown["rejected_logp"], policy_R[rejected_B], rtol=1e-5)
    np.testing.assert_array_equal(shown["accuracy"], h_B > 0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_tie_is_a_label_that_is_wrong_half_the_time(name):
    dpo = objective(POLICY, Recipe(DPOConfig(loss=name)))
    params, reference = POLICY.init(jax.random.key(3)), POLICY.init(jax.random.key(4))
    batch = pairs(jnp.array([0, 5, 9]), jnp.array([7, 1, 14])) | {"tie": jnp.array([0.0, 1.0, 0.0])}
    shown = dpo.measure(params, batch, hyper(0.3, 0.1), {"reference": reference})
    h_B = shown["reward_margin"] / 0.3
    expected_B = LOSSES[name](h_B, 0.3, jnp.array([0.1, 0.5, 0.1]))
    np.testing.assert_allclose(shown["loss"], expected_B, rtol=1e-4)
    np.testing.assert_array_equal(shown["accuracy"], jnp.where(batch["tie"] > 0, 0.5, h_B > 0))
    experience, _ = dpo.collect(params, batch, hyper(0.3, 0.1), {"reference": reference})  # type: ignore[misc]
    loss, (_, measured) = dpo.loss(params, experience, hyper(0.3, 0.1))
    assert loss == pytest.approx(float(expected_B.mean()), rel=1e-4)
    assert measured["accuracy"] == pytest.approx(float(shown["accuracy"].mean()))


def test_the_measured_kl_is_that_of_the_next_tokens_over_the_responses():
    """By hand: over the tokens of both responses of a pair, the mean of the two sums; 0 at the reference."""
    dpo = objective(POLICY, Recipe(DPOConfig()))
    params, reference = POLICY.init(jax.random.key(3)), POLICY.init(jax.random.key(4))
    batch = pairs(jnp.array([3]), jnp.array([11]))
    total = 0.0
    for response in (3, 11):
        for t in range(len(PROMPT_P), len(PROMPT_P) + RESPONSES.lengths_R[response]):
            logits = [POLICY.apply(tree, ROWS_RT[response][None, :t])[0, -1] for tree in (params, reference)]
            p, q = (np.asarray(jax.nn.softmax(each), float) for each in logits)
            total += float((p * np.log(p / q)).sum())
    shown = dpo.measure(params, batch, hyper(0.1), {"reference": reference})
    assert shown["kl"][0] == pytest.approx(total / 2, rel=1e-4)
    assert dpo.measure(params, batch, hyper(0.1), {"reference": params})["kl"][0] == pytest.approx(
        0, abs=1e-6
    )


def test_true_rewards_are_compared_where_they_are_known():
    dpo = objective(POLICY, Recipe(DPOConfig()))
    params, reference = POLICY.init(jax.random.key(3)), POLICY.init(jax.random.key(4))
    batch = pairs(jnp.array([0, 5]), jnp.array([7, 1]))
    plain = dpo.measure(params, batch, hyper(0.1), {"reference": reference})
    assert "gold_accuracy" not in plain
    known = dpo.measure(
        params, batch | {"gold_margin": jnp.array([-1.0, 2.0])}, hyper(0.1), {"reference": reference}
    )
    np.testing.assert_array_equal(known["gold_accuracy"], [1 - plain["accuracy"][0], plain["accuracy"][1]])


@pytest.mark.slow
def test_with_an_encoder_responses_have_the_decoders_probabilities():
    """By hand, row by row and without padding."""
    model = models.build(models.ladder(16, 20, "encdec"))
    dpo = objective(model, Recipe(DPOConfig()))
    reference = jax.jit(model.init)(jax.random.key(0))
    batch = pairs_of_rows(([5, 6, 7], [8, 1], [9, 9, 1]), ([5, 4], [9, 9, 1], [8, 1]))
    shown = jax.jit(dpo.measure)(reference, batch, hyper(0.5), {"reference": reference})
    for side in ("chosen", "rejected"):
        for i, start in enumerate(batch["prompt_lengths"]):
            tokens = batch[side][i : i + 1, : batch[f"{side}_lengths"][i]]
            source = {"source_BS": tokens[:, : start - 1]}
            logps_TV = jax.nn.log_softmax(model.apply(reference, tokens[:, start - 1 : -1], **source)[0])
            said = tokens[0, start:]
            expected = float(logps_TV[np.arange(len(said)), said].sum())
            assert float(shown[f"{side}_logp"][i]) == pytest.approx(expected, rel=1e-5)
    assert np.asarray(shown["loss"]) == pytest.approx(np.log(2), rel=1e-5)
