"""Each law against what its paper says of it: published numbers, limits, and the law it becomes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import scaling
from scaling.fitting.fit import in_units
from scaling.fitting.uncertainty import forecast
from scaling.laws import find
from scaling.laws.downstream.over_optimisation import coefficients, peak_of_best_of_n, peak_of_rl
from scaling.laws.downstream.rl_compute import is_early
from scaling.laws.law import values
from scaling.laws.pretraining import transfer
from scaling.table.runs import check, read_runs

EXCESS = (400.0, 1500.0, 0.35, 0.36)  # A, B, alpha, beta
SIZES, TOKENS = np.geomspace(1e7, 1e11, 5), np.geomspace(1e9, 1e13, 5)


def law_values(name, theta, **columns):
    law = find(name)
    rows = dict(zip(columns, np.broadcast_arrays(*[np.asarray(v, float) for v in columns.values()])))
    return values(law, np.array([theta]), {name: np.atleast_1d(v) for name, v in rows.items()})[0]


def chinchilla(E, A, B, alpha, beta, n_params=SIZES, n_tokens=TOKENS):
    return law_values("chinchilla", (E, A, B, alpha, beta), n_params=n_params, n_tokens=n_tokens)


def test_kaplan_gives_the_papers_power_laws_at_its_ends():
    theta = (8.8e13**0.076, 5.4e13**0.095, 0.076, 0.095)  # table 5 of the paper
    endless = law_values("kaplan", theta, n_params=SIZES, n_tokens=1e40)
    assert endless == pytest.approx((8.8e13 / SIZES) ** 0.076)
    assert law_values("kaplan", theta, n_params=1e60, n_tokens=TOKENS) == pytest.approx(
        (5.4e13 / TOKENS) ** 0.095
    )


def test_over_training_is_chinchilla_with_one_exponent():
    predicted = law_values("over_training", (1.8, 140.0, 190.0, 0.18), n_params=SIZES, n_tokens=TOKENS)
    scale = 6**-0.18  # C = 6 N D
    assert predicted == pytest.approx(chinchilla(1.8, 140 * scale, 190 * scale, 0.36, 0.36))


C4 = (np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 0.3526596, 15.387756, 5.309743)


def test_data_constrained_reproduces_the_authors_numbers():
    """README of github.com/huggingface/datablations: the two models of figure 1, 25 B unique tokens."""
    predicted = law_values(
        "data_constrained", C4, n_params=[6.34e9, 8.67e9], n_tokens=[242e9, 178e9], unique_tokens=25e9
    )
    assert predicted == pytest.approx([2.2256440889984477, 2.2269634075087867], rel=1e-12)


def test_data_met_once_by_models_it_suffices_for_is_chinchillas():
    predicted = law_values("data_constrained", C4, n_params=1e7, n_tokens=TOKENS, unique_tokens=2 * TOKENS)
    assert predicted == pytest.approx(chinchilla(*C4[:5], n_params=1e7))


def test_repeats_are_worth_r_d_more_passes_at_most():
    endless = law_values("data_constrained", C4, n_params=1e8, n_tokens=1e16, unique_tokens=1e10)
    assert endless == pytest.approx(chinchilla(*C4[:5], n_params=1e8, n_tokens=(1 + C4[5]) * 1e10))


@given(st.floats(7, 12), st.floats(8, 12), st.floats(0, 4), st.floats(0.01, 1))
def test_more_data_never_hurts_repeated_or_not(log_n, log_unique, log_epochs, more):
    tokens = 10 ** (log_unique + log_epochs + np.array([0, more]))
    again = law_values(
        "data_constrained", C4, n_params=10**log_n, n_tokens=tokens, unique_tokens=10**log_unique
    )
    fresh = law_values("data_constrained", C4, n_params=10**log_n, n_tokens=tokens, unique_tokens=tokens)
    assert again[1] <= again[0] * (1 + 1e-12) and np.all(fresh <= again * (1 + 1e-12))


def test_the_penalty_of_repeats_begins_with_the_second_pass_and_grows_with_size():
    theta = (*C4[:5], 0.01, 0.7, 0.9)
    sizes, unique = np.array([1e8, 1e9]), 1e9
    once = law_values("overfitting", theta, n_params=sizes, n_tokens=unique, unique_tokens=unique)
    assert once == pytest.approx(chinchilla(*C4[:5], n_params=sizes, n_tokens=unique))
    ten = law_values("overfitting", theta, n_params=sizes, n_tokens=10 * unique, unique_tokens=unique)
    penalty = ten - chinchilla(*C4[:5], n_params=sizes, n_tokens=10 * unique)
    assert penalty == pytest.approx(0.01 * 9**0.7 * (sizes / unique) ** 0.9)


TEXT_TO_PYTHON = (*C4[:5], np.log(1.9e4), 0.18, 0.38)


def test_pretraining_is_worth_the_tokens_that_it_transfers():
    n, d = SIZES, 1e7
    worth = 1.9e4 * d**0.18 * n**0.38
    scratch, tuned = (
        law_values("transfer", TEXT_TO_PYTHON, n_params=n, unique_tokens=d, pretrained=p) for p in (0, 1)
    )
    assert scratch == pytest.approx(chinchilla(*C4[:5], n_params=n, n_tokens=d))
    assert tuned == pytest.approx(chinchilla(*C4[:5], n_params=n, n_tokens=d + worth))
    assert transfer.transferred(TEXT_TO_PYTHON, n, d) == pytest.approx(worth)
    assert transfer.fraction_transferred(TEXT_TO_PYTHON, n, d) == pytest.approx(worth / (d + worth))


@pytest.mark.parametrize("pretrained", [0, 1])
def test_the_marginal_value_of_a_token_is_the_slope_of_the_loss(pretrained):
    at = {"n_params": 1e9, "pretrained": pretrained}
    low, high = (law_values("transfer", TEXT_TO_PYTHON, unique_tokens=1e8 * x, **at) for x in (0.999, 1.001))
    value = transfer.marginal_value(TEXT_TO_PYTHON, 1e9, 1e8, bool(pretrained))
    assert value == pytest.approx((low - high) / 2e5, rel=1e-5)


MIXED = (1.36, 36.0, 36.0, 0.19, 0.18, -0.3, 0.012, 0.1, -0.003, 2.1, 290.0)


@pytest.mark.parametrize("n_experts, counted", [(1, 2.1), (1e9, 290.0)])
def test_experts_count_from_x_start_to_x_max(n_experts, counted):
    E, A, B, alpha, beta, delta, gamma, omega, zeta, *_ = MIXED
    predicted = law_values("moe", MIXED, n_active=SIZES, n_tokens=TOKENS, n_experts=n_experts)
    A, B = A * counted**delta, B * counted**omega
    same = chinchilla(E, A, B, alpha - gamma * np.log(counted), beta - zeta * np.log(counted))
    assert predicted == pytest.approx(same, rel=1e-6)


def test_fine_experts_approach_chinchilla_without_the_term_of_granularity():
    theta = (0.8, 18.1, 30.8, 0.15, 0.147, 4.0, 0.58)
    predicted = law_values("granularity", theta, n_active=SIZES, n_tokens=TOKENS, granularity=1e30)
    assert predicted == pytest.approx(chinchilla(0.8, 18.1, 30.8, 0.15, 0.147))
    coarse = law_values("granularity", theta, n_active=SIZES, n_tokens=TOKENS, granularity=1)
    assert coarse == pytest.approx(chinchilla(0.8, 22.1, 30.8, 0.15, 0.147))


def test_experts_multiply_the_parameters_by_a_power_of_their_number_and_dense_models_have_none():
    theta = (1.8, *EXCESS, 0.3, 0.05, 0.0)
    columns = {"n_active": SIZES, "n_tokens": TOKENS}
    dense = law_values("sparsity", theta, **columns, expansion=1, granularity=4)
    assert dense == pytest.approx(chinchilla(1.8, *EXCESS))
    sparse = law_values("sparsity", theta, **columns, expansion=8, granularity=np.e**2)
    assert sparse == pytest.approx(chinchilla(1.8, *EXCESS, n_params=SIZES * 8**0.4))


def test_a_critical_batch_takes_twice_the_tokens_and_far_larger_ones_are_worth_their_steps():
    theta, critical = (1.8, *EXCESS, 25.0, 0.47), 25.0 * TOKENS**0.47
    once, columns = chinchilla(1.8, *EXCESS), {"n_params": SIZES, "n_tokens": TOKENS}
    assert law_values("batch", theta, **columns, batch_tokens=1e-3) == pytest.approx(once, rel=1e-6)
    twice = columns | {"n_tokens": 2 * TOKENS, "batch_tokens": critical}
    assert law_values("batch", theta, **twice) == pytest.approx(once)
    huge = columns | {"n_tokens": TOKENS / critical * 1e16, "batch_tokens": 1e16}
    assert law_values("batch", theta, **huge) == pytest.approx(once, rel=1e-4)


def test_weights_of_gamma_log_2_bits_count_half():
    predicted = law_values(
        "precision", (1.8, *EXCESS, 2.7), n_params=SIZES, n_tokens=TOKENS, weight_bits=2.7 * np.log(2)
    )
    assert predicted == pytest.approx(chinchilla(1.8, *EXCESS, n_params=SIZES / 2))
    exact = law_values("precision", (1.8, *EXCESS, 2.7), n_params=SIZES, n_tokens=TOKENS, weight_bits=1e3)
    assert exact == pytest.approx(chinchilla(1.8, *EXCESS))


def test_a_broken_law_is_two_power_laws_far_from_its_break():
    E, b, c0, c1, d = 1.5, 100.0, 0.1, 0.15, 3e20
    x = np.array([1e15, 1e16, 1e25, 1e26])
    predicted = law_values("broken", (E, b, c0, c1, d, 0.4), flops=x)
    assert predicted[:2] == pytest.approx(E + b * x[:2] ** -c0)
    assert predicted[2:] == pytest.approx(E + b * d**c1 * x[2:] ** -(c0 + c1))


@given(st.floats(-3, 3), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_u_is_lowest_at_its_turn(log_turn, p, q):
    x = 10 ** (log_turn + np.linspace(-2, 2, 41))
    predicted = law_values("u_shaped", (2.2, 10**log_turn, p, q), flops=x)
    assert predicted.argmin() == 20 and predicted[20] == pytest.approx(2.2)


def test_of_a_mixture_only_shares_against_the_last_domain_count():
    shares = {"share_web": [1, 0, 0, 0.5], "share_code": [0, 1, 0, 0.5], "share_books": [0, 0, 1, 0]}
    predicted = law_values("mixture_exponential:web,code,books", (1.9, 1.4, -0.8, 0.5), **shares)
    assert predicted == pytest.approx(1.9 + 1.4 * np.exp([-0.8, 0.5, 0.0, -0.15]))


def test_the_default_mixture_law_ranks_mixtures_that_it_has_not_seen(public_data):
    """RegMix (arXiv 2407.01492): 512 models of 1M parameters on mixtures of 17 domains, by three losses."""
    folder = public_data / "runs/mixtures"
    table = pd.read_csv(folder / "regmix_1m_shares.csv").rename(
        columns=lambda name: name.replace("train_the_pile_", "share_")
    )
    losses = pd.read_csv(folder / "regmix_1m_losses.csv")
    law = find("mixture:" + ",".join(name[6:] for name in table if name.startswith("share_")))
    unseen, ranks, inside = np.arange(len(table)) % 5 == 0, [], []
    rest = {name: table[name].to_numpy()[unseen] for name in law.columns}
    for domain in ("pile_cc", "github", "wikipedia_en"):
        loss = losses[f"metric/the_pile_{domain}_val_loss"].to_numpy()
        x, y, units = in_units(law, table.assign(loss=loss)[~unseen])
        fitted = forecast(law, x, y, units, 2, np.random.default_rng(0))
        predicted, lo, hi = fitted.predict(law, rest, 0.9)
        ranks.append(stats.spearmanr(predicted, loss[unseen])[0])
        inside.append((lo <= loss[unseen]) & (loss[unseen] <= hi))
    assert np.mean(ranks) > 0.97 and min(ranks) > 0.96
    assert 0.85 < np.mean(inside) < 0.97


def test_a_share_of_none_counts_as_the_floor():
    shares = {"share_web": [0.0, 0.25], "share_code": [1.0, 0.75]}
    theta = (np.log(2.0), 0.3, 0.1, np.log(0.01))
    own = law_values("mixture_own:web,code", theta, **shares)
    assert own == pytest.approx([2 * 0.01**-0.1, 2 * np.exp(0.3 * 0.25) * 0.26**-0.1])
    both = law_values("mixture:web,code", (*theta[:3], 0.2, theta[3]), **shares)
    assert both == pytest.approx(own * np.array([1.01, 0.76]) ** -0.2)


@pytest.mark.parametrize("name, peak", [("bon", 0.9 / (2 * 0.25)), ("rl", np.exp(0.9 / 0.25 - 1))])
def test_reward_starts_at_none_and_peaks_where_the_law_says(name, peak):
    d = peak * np.linspace(0, 2, 41)
    predicted = law_values(f"over_optimisation_{name}", (0.9, 0.25), kl=d**2)
    assert predicted[0] == 0 and predicted.argmax() == 20


@pytest.mark.parametrize("peak, name", [(peak_of_best_of_n, "bon"), (peak_of_rl, "rl")])
def test_the_closed_form_of_the_peak_is_the_highest_reward(peak, name):
    alpha, beta = np.array([0.9, 0.3]), np.array([0.25, 0.4])
    for a, b, d, reward in zip(alpha, beta, *peak(alpha, beta)):
        predicted = law_values(f"over_optimisation_{name}", (a, b), kl=(d * np.linspace(0.5, 1.5, 201)) ** 2)
        assert predicted.argmax() == 100 and predicted[100] == pytest.approx(reward)
    assert np.isnan(peak(0.9, -0.1)).all()


def test_over_reward_models_the_law_is_of_one_at_each_size():
    theta = {"alpha": 0.2, "alpha_reward_params": 0.05, "beta": 0.5, "beta_reward_params": -0.025}
    kl = np.linspace(0, 30, 7)
    for way, slope in (("bon", 0.05), ("rl", 0.0)):  # of RL one alpha serves reward models of all sizes
        name = f"over_optimisation_{way}"
        of_way = {key: value for key, value in theta.items() if slope or key != "alpha_reward_params"}
        assert find(f"{name}:reward_params").params == tuple(of_way)
        for size in (1e4, 1e6):
            alpha, beta = coefficients(of_way, reward_params=size)
            assert (alpha, beta) == pytest.approx((0.2 + slope * np.log(size), 0.5 - 0.025 * np.log(size)))
            joint = law_values(f"{name}:reward_params", tuple(of_way.values()), kl=kl, reward_params=size)
            assert joint == pytest.approx(law_values(name, (alpha, beta), kl=kl))


def test_a_fit_of_small_reward_models_predicts_a_larger_one():
    theta, rng = (0.6, 0.5, -0.01), np.random.default_rng(0)
    name = "over_optimisation_rl:reward_params"
    sizes, kl = np.repeat([1e4, 3e4, 1e5], 12), np.tile(np.linspace(0.1, 30, 12), 3)
    reward = law_values(name, theta, kl=kl, reward_params=sizes) + 0.02 * rng.standard_normal(36)
    table = pd.DataFrame({"kl": kl, "reward_params": sizes, "reward": reward})
    runs = check(table, {}, needed=tuple(table))
    fit = scaling.fit(runs, law=name, n_bootstrap=60)
    larger = fit.predict(kl=kl[:12], reward_params=np.full(12, 1e6))
    truth = law_values(name, theta, kl=kl[:12], reward_params=1e6)
    assert larger.loss == pytest.approx(truth, abs=0.15)
    assert np.mean((larger.lo <= truth) & (truth <= larger.hi)) >= 0.8
    d, height = peak_of_rl(*coefficients(fit.params, reward_params=1e6))
    want = peak_of_rl(*coefficients(dict(zip(fit.params, theta)), reward_params=1e6))
    assert (d, height) == pytest.approx(want, rel=0.25)


def test_rl_has_half_its_gain_at_the_middle_and_nears_its_ceiling():
    theta = (2.0, 1.4, 1e15)
    predicted = law_values("rl_compute", theta, flops=[1e-10, 1e15, 1e40], start_reward=0.5)
    assert predicted == pytest.approx([0.5, 1.25, 2.0])
    assert predicted[1] == law_values("rl_compute", (2.0, 0.3, 1e15), flops=1e15, start_reward=0.5)[0]


def test_the_early_part_of_a_curve_is_a_share_of_its_compute():
    np.testing.assert_array_equal(
        is_early(np.array([1.0, 5, 10, 50, 100])), [True, True, False, False, False]
    )


def test_fine_tuning_by_size_and_by_examples_multiply():
    loss = law_values("fine_tuning", (0.6, 120.0, 0.25, 0.2), n_params=[1e4, 1.6e5], n_examples=[1e3, 3.2e4])
    assert loss - 0.6 == pytest.approx([120 / 10 / 1e3**0.2, 120 / 20 / 1e3**0.2 / 2])


def test_noisy_labels_are_worth_fewer_right_ones():
    theta = (0.04, 6.0, 3.0, 0.4, 0.45)
    noisy = law_values("reward_model", theta, n_params=1e5, n_pairs=4e4, label_noise=0.25)
    assert noisy == pytest.approx(
        law_values("reward_model", theta, n_params=1e5, n_pairs=1e4, label_noise=0.0)
    )


@pytest.mark.slow
def test_hoffmanns_runs_have_a_floor_and_nearly_one_exponent(public_data):
    table = public_data / "runs/epoch_chinchilla/svg_extracted_data.csv"
    runs = read_runs(table, {"n_params": "Model Size", "flops": "Training FLOP"})
    runs = runs.without(runs.table["loss"].rank(ascending=False).to_numpy() <= 5, "the 5 highest losses")
    own, one, no_floor = (
        scaling.fit(runs, law=law, n_bootstrap=0) for law in ("chinchilla", "over_training", "kaplan")
    )
    assert own.params["alpha"] < 2 * one.params["eta"] < own.params["beta"]
    assert own.objective < one.objective < 1.01 * own.objective
    assert no_floor.objective > 2 * own.objective
