"""The tables of the study on answers whose truth is planted, and its runs."""

import numpy as np
import pandas as pd
import pytest

from experiments.data.sources.biographies import ALL_ATTRIBUTES
from experiments.studies.trust.abstention import figures, results
from experiments.studies.trust.abstention.measures import Answers, drawn_answers
from experiments.studies.trust.abstention.runs import Settings, answering, reinforce, reinforced, starts

N, V, NOTHING = 400, 6, 5
PNG = b"\x89PNG"
COSTS = dict.fromkeys(("demonstrations", "reward", "reading", "verifying"), 1.0)


def others_of(start: list[Answers]) -> dict[str, list[Answers]]:
    return dict.fromkeys(("again", "read", "learnt to read"), start)


def planted(seed: int, threshold: float | None) -> Answers:
    """Answers that are right as often as they are sure; with a threshold t, no answer where p is below it."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.3, 1.0, N)
    rest = (1 - sure[:, None]) * rng.dirichlet(np.ones(4), N) * 0.9
    shares = np.concatenate([sure[:, None], np.minimum(rest, 0.95 * sure[:, None])], axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    right = np.where(rng.random(N) < shares[:, 0], 0, rng.integers(1, 5, N))
    abstains = np.full(N, 0.01) if threshold is None else np.where(shares[:, 0] > threshold, 0.01, 0.97)
    whole = np.concatenate([shares * (1 - abstains[:, None]), abstains[:, None]], axis=1)
    return Answers(np.log(whole + 1e-12), right, NOTHING, np.where(np.arange(N) % 2, 1, 64))


def judged() -> list[Answers]:
    """Of other people, as sure and as right as those who are asked about."""
    return [planted(seed, None) for seed in range(10, 13)]


def test_answers_by_hand():
    shares = np.array([[0.1, 0.2, 0.1, 0.05, 0.05, 0.5], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    answers = Answers(np.log(shares), np.array([1, -1]), NOTHING, np.array([1, 64]))
    assert answers.choice_Q.tolist() == [1, 0] and answers.is_right_Q.tolist() == [True, False]
    assert answers.answered_Q.tolist() == [False, True]
    np.testing.assert_allclose(answers.confidence_Q, [0.4, 5 / 9])
    np.testing.assert_allclose(answers.right_share(1.0), [0.4, 0])
    np.testing.assert_allclose(answers.right_share(0.0), [1, 0])
    np.testing.assert_allclose(answers.right_share(0.5)[0], 0.04 / (0.01 + 0.04 + 0.01 + 2 * 0.0025))
    drawn = drawn_answers(answers, 4000, 0)
    assert NOTHING not in drawn and (drawn[0] == 1).mean() == pytest.approx(0.4, abs=0.03)


def test_policies_that_answer_above_the_threshold_reach_the_closed_form():
    start = [planted(seed, None) for seed in range(3)]
    table = results.policies({t: [planted(seed, t) for seed in range(3)] for t in (0.5, 0.8)}, start)
    found = table.groupby("threshold")[["score", "best", "everything", "ece"]].mean()
    assert (found["score"] - found["best"]).abs().max() < 0.05
    assert (found["score"] > found["everything"]).all() and (found["ece"] < 0.08).all()


def test_remedies_are_compared_with_answering_everything():
    settings = Settings(thresholds=(0.8,), threshold=0.8, n_bootstrap=20)
    start, reward = ([planted(seed, t) for seed in range(3)] for t in (None, 0.8))
    p_true = [np.where(each.is_right_Q, 0.9, 0.1) for each in start]
    found = results.remedies(start, reward, others_of(start), judged(), p_true, COSTS, settings)
    table = found.set_index("remedy")
    everything = table.loc["answers drawn at temperature 0"]
    assert everything["gain"] == 0 and everything["coverage"] == 1 and not everything["claimed"]
    best = table.loc["reward with a penalty"]
    assert best["claimed"] and best["gain_lo"] > 0 and best["error"] < everything["error"]
    assert table.loc["asked again in other words", "score"] == everything["score"]
    assert table.loc["answers drawn at temperature 1", "gain"] < 0
    assert figures.remedies(found).startswith(PNG)
    calibrated = table.loc["own probability, calibrated"]
    assert calibrated["score"] == pytest.approx(best["score"], abs=0.03) and calibrated["training"] == 0
    asked = table.loc["said to be true, when asked"]
    assert (
        asked["error"] == 0 and asked["score"] == pytest.approx(asked["coverage"]) and asked["questions"] == 2
    )
    told = results.tells(start, p_true, settings).groupby("detector")["auroc"].mean()
    assert told["probability of the answer"] > 0.6 and told["not to abstain"] == 0.5
    assert told["said to be true, when asked"] == 1
    assert figures.risk_coverage(results.curves(start, p_true, settings)).startswith(PNG)


def test_rewards_that_punish_are_compared_with_fine_tuning():
    settings = Settings()
    start = [planted(seed, None) for seed in range(3)]
    rewarded = {t: [planted(seed, t) for seed in range(3)] for t in (0.0, 0.8)}
    table = results.post_training(start, rewarded, settings).set_index("after")
    np.testing.assert_allclose(table[["right", "wrong", "open"]].sum(axis=1), 1)
    assert table.loc["then rewards, t = 0", "change"] == 0 and not table.loc["then rewards, t = 0", "claimed"]
    punished = table.loc["then rewards, t = 0.8"]
    assert punished["claimed"] and punished["hi"] < 0 and punished["open"] > 0.5


def test_runs_start_from_the_runs_of_their_seed_and_thresholds_share_a_program():
    settings = Settings()
    runs = reinforced(settings, settings.widths[:1], settings.thresholds)
    for config in runs:
        assert config.init is not None
        assert config.init.source == answering(settings, settings.widths[0], config.seed).run_id
    assert len({config.pack_key for config in runs}) == settings.n_seeds < len({c.run_id for c in runs})
    assert len(starts(settings)) == 2 * settings.n_seeds
    assert reinforce(settings, 24, 0, 0.5).recipe == reinforce(settings, 24, 2, 0.8).recipe


def test_what_is_said_to_abstain_is_in_no_question():
    asked = [text for each in ALL_ATTRIBUTES.values() for text in each.asked]
    assert asked and not any(Settings().abstention in text for text in asked)


def test_settings_that_give_no_comparison_are_refused():
    with pytest.raises(ValueError, match=r"threshold=0.4; it is one of \[0.5\]"):
        Settings(thresholds=(0.5,), threshold=0.4)


def test_words_say_what_was_found():
    settings = Settings(thresholds=(0.5,), threshold=0.5, n_bootstrap=20)
    start, reward = ([planted(seed, t) for seed in range(3)] for t in (None, 0.5))
    rows = [results.policies({0.5: reward}, start).assign(width=width) for width in settings.widths]
    policies = pd.concat(rows, ignore_index=True)
    summary = results.summary(policies, {"score": 0.4, "coverage": 0.7}, settings)
    p_true = [each.confidence_Q for each in start]
    tables = {
        "policies": policies,
        "post_training": results.post_training(start, {0.5: reward}, settings),
        "detectors": results.tells(start, p_true, settings),
        "remedies": results.remedies(start, reward, others_of(start), judged(), p_true, COSTS, settings),
    }
    said = results.last_words(summary, tables, settings)
    assert "score of the larger model: predicted 0.400" in said and "reward with a penalty" in said
    assert figures.policies(policies).startswith(PNG)
