"""What a step collects and what its loss adds up, number by number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from experiments.objective_configs import GRPOConfig, PPOConfig, RejectionConfig
from experiments.posttraining.estimators.token_logps import masked_mean
from experiments.posttraining.rl import grpo, ppo, rejection
from models.decoding.rollout import rollout
from tests.experiments.posttraining.rl import enumerated
from tests.experiments.posttraining.rl.enumerated import MAX_NEW, PROMPT, batch, network, recipe

N_ROWS, BETA = 12, 0.3
ALGORITHMS = {"ppo": ppo, "grpo": grpo, "rejection": rejection}
PPO = PPOConfig(max_new=MAX_NEW, beta=BETA, gae_lambda=1.0, temperature=0.8, whiten_advantages=False)
GRPO = GRPOConfig(advantage="dr_grpo", max_new=MAX_NEW, beta=BETA, group_size=3)


def policy():
    """A policy that is not the reference."""
    drawn = np.random.default_rng(7)
    return jax.tree.map(lambda x: x + 0.2 * drawn.normal(size=x.shape).astype(np.float32), network()[1])


@functools.cache
def compiled(config):
    """The objective, its parameters, and its `collect`."""
    objective = ALGORITHMS[config.kind].objective(network()[0], recipe(config), enumerated.score)
    params = objective.place(jax.jit(objective.init)(jax.random.key(0)), policy())
    return objective, params, jax.jit(objective.collect)


@functools.cache
def collected(config, **changes):
    """Parameters, experience, measurements, and loss with the terms that are traced."""
    objective, params, collect = compiled(config)
    numbers = enumerated.hyper(config) | {name: jnp.float32(x) for name, x in changes.items()}
    found = collect(params, batch(N_ROWS, np.arange(N_ROWS)), numbers, {"reference": network()[1]})
    return objective, params, numbers, *jax.device_get(found)


def score_of(experience):
    """The reward of each row, by the list of all responses."""
    listed = {
        (*row[:length],): reward
        for row, length, reward in zip(
            enumerated.ALL.tokens_RT.tolist(), enumerated.ALL.lengths_R, enumerated.REWARDS_R
        )
    }
    ends = zip(experience["tokens"].tolist(), experience["lengths"])
    return np.array([listed[(*tokens[len(PROMPT) : end],)] for tokens, end in ends])


def reference_logps(experience, temperature):
    model, start = network()
    logits_BTV = jax.jit(model.apply)(start, experience["tokens"][:, :-1]) / temperature
    logps_BTV = jax.nn.log_softmax(logits_BTV)
    return np.take_along_axis(np.asarray(logps_BTV), experience["tokens"][:, 1:, None], axis=2)[..., 0]


def test_returns_add_up_the_score_and_the_divergence_from_each_token_on():
    """Values are zero at the start, so with λ = 1 advantages are these sums, too."""
    _, _, _, experience, measured = collected(PPO)
    mask_BT, lengths_B = experience["mask"], experience["lengths"]
    kl_BT = np.where(mask_BT, experience["logps"] - reference_logps(experience, 0.8), 0)
    per_token_BT = -BETA * kl_BT
    rows = np.arange(N_ROWS)
    per_token_BT[rows, lengths_B - 2] += score_of(experience)  # at t = length - 2 the last token is chosen
    expected_BT = np.where(mask_BT, per_token_BT[:, ::-1].cumsum(axis=1)[:, ::-1], 0)
    np.testing.assert_allclose(experience["returns"], expected_BT, atol=1e-5)
    np.testing.assert_allclose(experience["advantages"], expected_BT, atol=1e-5)
    assert (mask_BT.sum(axis=1) == lengths_B - len(PROMPT)).all() and not mask_BT[:, 0].any()
    assert measured["mismatch"] < 1e-5  # at this temperature
    assert measured["reward"] == pytest.approx(score_of(experience).mean(), abs=1e-6)
    assert measured["kl"] == pytest.approx(kl_BT.sum(axis=1).mean(), abs=1e-5)
    assert measured["length"] == pytest.approx(mask_BT.sum(axis=1).mean())
    cut_off_B = experience["tokens"][rows, lengths_B - 1] != enumerated.EOS
    assert measured["truncated"] == pytest.approx(cut_off_B.mean()) and 0 < cut_off_B.sum() < N_ROWS


def test_ratios_are_of_the_trainers_numbers_where_those_of_the_sampler_differ():
    """As they do in bfloat16, by its rounding: of 8 bits."""
    model = models.build(dataclasses.replace(enumerated.CONFIG, dtype="bfloat16"))
    objective = ppo.objective(model, recipe(PPO), enumerated.score)
    params = objective.place(jax.jit(objective.init)(jax.random.key(0)), policy())
    rows, numbers = batch(N_ROWS, np.arange(N_ROWS)), enumerated.hyper(PPO)
    experience, measured = jax.jit(objective.collect)(params, rows, numbers, {"reference": network()[1]})
    assert 1e-4 < measured["mismatch"] < 0.1
    _, (_, found) = jax.jit(objective.loss)(params, experience, numbers)
    assert found["policy_change"] < 1e-9 and found["clip_fraction"] == 0


def test_whitened_rewards_have_unit_variance_and_the_mean_that_they_had():
    _, _, _, plain, _ = collected(PPO)
    _, _, _, found, _ = collected(dataclasses.replace(PPO, whiten_rewards=True))
    mask_BT = plain["mask"]
    later_BT = np.pad(plain["returns"][:, 1:], ((0, 0), (0, 1)))  # values are zero, λ and γ one
    rewards_BT = plain["returns"] - later_BT
    mean, std = rewards_BT[mask_BT].mean(), rewards_BT[mask_BT].std()
    assert abs(mean) > 0.05 and abs(std - 1) > 0.05
    whitened_BT = np.where(mask_BT, (rewards_BT - mean) / std + mean, 0)
    expected_BT = np.where(mask_BT, whitened_BT[:, ::-1].cumsum(axis=1)[:, ::-1], 0)
    np.testing.assert_allclose(found["returns"], expected_BT, atol=1e-4)


@pytest.mark.parametrize("config", [PPO, GRPO], ids=lambda config: config.kind)
@pytest.mark.parametrize("ratio", [1.25, 0.75])
def test_each_side_of_the_clip_has_its_own_bound(ratio, config):
    """The policy has moved by the same ratio at every token: up, clip_high binds where the advantage is
    positive; down, clip where it is negative."""
    objective, params, numbers, experience, _ = collected(config)
    mask_BT = experience["mask"]
    advantages = np.random.default_rng(0).normal(size=experience["advantages"].shape).astype(np.float32)
    advantages_BT = np.broadcast_to(advantages if config is PPO else advantages[:, None], mask_BT.shape)
    changed = {"logps": experience["logps"] - np.float32(np.log(ratio)), "advantages": advantages}
    rows, loss = jax.tree.map(jnp.asarray, experience | changed), jax.jit(objective.loss)
    numbers = numbers | {"value_coefficient": jnp.float32(0)}
    for clip, clip_high in ((0.1, 0.3), (0.3, 0.1)):
        numbers |= {"clip": jnp.float32(clip), "clip_high": jnp.float32(clip_high)}
        found, (_, measured) = loss(params, rows, numbers)
        bound = 1 + clip_high if ratio > 1 else 1 - clip
        clipped = min(ratio, bound) if ratio > 1 else max(ratio, bound)
        losses_BT = -np.minimum(ratio * advantages_BT, clipped * advantages_BT)
        n = mask_BT.sum() if config is PPO else len(mask_BT) * MAX_NEW
        assert found == pytest.approx(losses_BT[mask_BT].sum() / n, abs=1e-4)
        binds_BT = (advantages_BT > 0) == (ratio > 1) if clipped != ratio else np.zeros_like(mask_BT)
        assert measured["clip_fraction"] == pytest.approx(binds_BT[mask_BT].mean(), abs=1e-6)
        assert 0.2 < binds_BT[mask_BT].mean() < 0.8 or clipped == ratio


def test_a_response_that_is_cut_off_loses_the_penalty_or_is_not_learnt_from():
    _, _, _, plain, _ = collected(PPO)
    _, _, _, punished, measured = collected(PPO, truncation_penalty=2.0)
    rows = np.arange(N_ROWS)
    cut_off_B = plain["tokens"][rows, plain["lengths"] - 1] != enumerated.EOS
    lost_BT = np.where(plain["mask"] & cut_off_B[:, None], 2.0, 0.0)
    np.testing.assert_allclose(plain["returns"] - punished["returns"], lost_BT, atol=1e-5)
    assert measured["reward"] == pytest.approx(score_of(plain).mean(), abs=1e-6)  # without penalties
    masked = dataclasses.replace(PPO, mask_truncated=True, whiten_advantages=True)
    _, _, _, experience, _ = collected(masked)
    assert (experience["mask"] == plain["mask"] & ~cut_off_B[:, None]).all()
    whitened = experience["advantages"][experience["mask"]]
    assert whitened.mean() == pytest.approx(0, abs=1e-5) and whitened.std() == pytest.approx(1, abs=1e-3)
    assert not experience["advantages"][~experience["mask"]].any()


def test_the_loss_is_policy_value_and_entropy_by_their_coefficients():
    objective, params, numbers, experience, _ = collected(PPO)
    loss = jax.jit(objective.loss)
    rows = jax.tree.map(jnp.asarray, experience)
    numbers = numbers | {"value_coefficient": jnp.float32(0), "entropy_coefficient": jnp.float32(0)}
    plain, (weight, measured) = loss(params, rows, numbers)
    mask_BT = experience["mask"]
    assert weight == mask_BT.sum()
    # At the policy that sampled, the ratio is 1 and nothing is clipped.
    assert plain == pytest.approx(-float(masked_mean(experience["advantages"], mask_BT)), abs=1e-5)
    assert measured["clip_fraction"] == 0 and abs(measured["policy_change"]) < 1e-6
    by_value = loss(params, rows, numbers | {"value_coefficient": jnp.float32(2)})[0] - plain
    assert by_value == pytest.approx(float(masked_mean(experience["returns"] ** 2, mask_BT)), abs=1e-4)
    model, _ = network()
    logps_BTV = jax.nn.log_softmax(jax.jit(model.apply)(params["policy"], experience["tokens"][:, :-1]) / 0.8)
    entropy = float(masked_mean(-(jnp.exp(logps_BTV) * logps_BTV).sum(axis=-1), mask_BT))
    by_entropy = loss(params, rows, numbers | {"entropy_coefficient": jnp.float32(3)})[0] - plain
    assert by_entropy == pytest.approx(-3 * entropy, abs=1e-4)


def test_the_baseline_of_a_response_is_its_neighbours():
    _, _, _, experience, measured = collected(GRPO)
    kl_BT = np.where(experience["mask"], experience["logps"] - experience["reference_logps"], 0)
    rewards_GK = (score_of(experience) - BETA * kl_BT.sum(axis=1)).reshape(-1, 3)
    expected_GK = rewards_GK - rewards_GK.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(experience["advantages"].reshape(-1, 3), expected_GK, atol=1e-5)
    np.testing.assert_allclose(experience["reference_logps"], reference_logps(experience, 1.0), atol=1e-5)
    scores_GK = score_of(experience).reshape(-1, 3)
    assert measured["equal_groups"] == pytest.approx((np.ptp(scores_GK, axis=1) == 0).mean())


def test_a_divergence_in_the_loss_is_added_token_by_token():
    config = dataclasses.replace(GRPO, kl_in="loss", kl="k2", normalization="token")
    objective, params, numbers, experience, _ = collected(config)
    scores_GK = score_of(experience).reshape(-1, 3)
    np.testing.assert_allclose(
        experience["advantages"].reshape(-1, 3), scores_GK - scores_GK.mean(axis=1, keepdims=True), atol=1e-5
    )
    found, (weight, _) = jax.jit(objective.loss)(params, jax.tree.map(jnp.asarray, experience), numbers)
    mask_BT = experience["mask"]
    k2_BT = (experience["logps"] - experience["reference_logps"]) ** 2 / 2
    expected = float(masked_mean(BETA * k2_BT - experience["advantages"][:, None], mask_BT))
    assert found == pytest.approx(expected, abs=1e-5) and weight == mask_BT.sum()


def test_the_best_of_each_group_is_what_is_learnt():
    config = RejectionConfig(n=4, max_new=MAX_NEW)
    objective, params, numbers, experience, measured = collected(config)
    assert len(experience["tokens"]) == N_ROWS // 4
    assert measured["reward_best"] == pytest.approx(score_of(experience).mean(), abs=1e-6)
    assert measured["reward_best"] > measured["reward"] + measured["reward_std"] / 2
    rewards_B = jnp.array([1.0, 3.0, 3.0, 0.0, 5.0, -1.0])
    assert rejection.best(rewards_B, 3).tolist() == [1, 4]
    loss, (weight, _) = jax.jit(objective.loss)(params, jax.tree.map(jnp.asarray, experience), numbers)
    model, _ = network()
    logps_BTV = jax.nn.log_softmax(jax.jit(model.apply)(params, experience["tokens"][:, :-1]))
    logps_BT = jnp.take_along_axis(logps_BTV, experience["tokens"][:, 1:, None], axis=2)[..., 0]
    assert loss == pytest.approx(-float(masked_mean(logps_BT, experience["mask"])), abs=1e-5)
    assert weight == (experience["lengths"] - len(PROMPT)).sum()


def test_best_of_n_of_the_start_is_sampled_from_the_start():
    """And not from the policy: other responses come of the same seeds."""
    config = RejectionConfig(n=4, max_new=MAX_NEW)
    ours, starts = (
        collected(dataclasses.replace(config, sample_from=source))[3] for source in ("policy", "start")
    )
    assert (ours["tokens"] != starts["tokens"]).any()
    model, start = network()

    @jax.jit
    def of_start(rows):
        prompts = rows["tokens"], rows["lengths"], rows["seeds"]
        return rollout(model, start, *prompts, MAX_NEW, enumerated.EOS)

    rolled = of_start(batch(N_ROWS, np.arange(N_ROWS)))
    chosen = rejection.best(enumerated.score({}, rolled), 4)
    np.testing.assert_array_equal(starts["tokens"], np.asarray(rolled.tokens_BT)[np.asarray(chosen)])


def test_the_divergence_adapts_its_weight_by_a_fifth_of_the_gain_at_most():
    objective, params, numbers, *_ = collected(PPO)
    assert objective.adapt is not None

    def scale(kl, target):
        adapted = objective.adapt(
            params, {"kl": jnp.float32(kl)}, numbers | {"kl_target": jnp.float32(target)}
        )
        return adapted["kl_scale"]

    assert scale(0.0, 2.0) == pytest.approx(1 - 0.02) and scale(9.0, 2.0) == pytest.approx(1 + 0.02)
    assert scale(2.2, 2.0) == pytest.approx(1.01) and scale(9.0, 0.0) == 1


@pytest.mark.parametrize(
    ("advantage", "tokens"), [("grpo", None), ("dr_grpo", MAX_NEW), ("rloo", MAX_NEW)], ids=str
)
def test_tokens_are_averaged_as_in_the_paper_of_the_advantage(advantage, tokens):
    """Over those of a response, or over those that it might have had."""
    _, params, numbers, experience, _ = collected(GRPO)
    config = dataclasses.replace(GRPO, advantage=advantage)
    objective = grpo.objective(network()[0], recipe(config), enumerated.score)
    advantages_B, mask_BT = np.arange(N_ROWS, dtype=np.float32), experience["mask"].copy()
    mask_BT[::2, len(PROMPT) :] = False  # every other response has one token
    n_B = mask_BT.sum(axis=1)
    rows = jax.tree.map(jnp.asarray, experience | {"advantages": advantages_B, "mask": mask_BT})
    loss, _ = jax.jit(objective.loss)(params, rows, numbers)
    assert loss == pytest.approx(-(advantages_B * n_B / (tokens or n_B)).mean(), abs=1e-4)
