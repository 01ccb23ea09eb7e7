"""The study of creativity: comparisons of samplers and policies by hand, and a tiny one to its end."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.studies import load_study
from experiments.studies.trust.creativity import figures, frontier, policies, words
from experiments.studies.trust.creativity.plans import GRAMMAR, Settings
from tests.tiny_run import isoflop


def curves(gain=0.1, models=4):
    """Validity 1 - entropy / 20 under temperature alone, and `gain` more of it under top-p; a creative share
    that is best at number 2."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(models):
        about = {"run_id": f"m{i}", "d_model": 8, "seed": i}
        for sampler, more in ((frontier.BASE, 0.0), ("top-p", gain), ("min-p at 1.5", 0.0)):
            for number in (1, 2, 3):
                entropy = 4.0 * number + rng.random()
                valid = 1 - entropy / 20 + more * (1 + 0.01 * i)
                rows.append(
                    about | {"sampler": sampler, "number": number, "entropy": entropy, "valid": valid}
                )
                rows[-1] |= {"creative": valid / (1 + abs(number - 2)), "diverse": entropy / 30}
    return pd.DataFrame(rows)


def test_samplers_are_compared_at_equal_entropy():
    at = frontier.at_equal(curves(), "entropy", "valid", np.array([6.0, 11.0, 40.0]))
    np.testing.assert_allclose(at.loc[at["sampler"] == "min-p at 1.5", "gain"], 0, atol=1e-12)
    top_p = at[at["sampler"] == "top-p"].sort_values("run_id")
    assert sorted(top_p["level"].unique()) == [6, 11]  # no curve reaches 40
    np.testing.assert_allclose(top_p.groupby("run_id")["gain"].mean(), [0.1, 0.101, 0.102, 0.103])
    found = {(row["sampler"], row["at"]): row for row in frontier.gains(at, 0.9)}
    gain = found["top-p", 6.0]
    assert gain["mean"] == pytest.approx(0.1015)
    assert gain["lo"] < gain["mean"] < gain["hi"] and gain["p"] < 1e-4


def test_the_best_setting_is_chosen_on_other_seeds():
    table = curves()
    lucky = (table["run_id"] == "m0") & (table["sampler"] == "top-p") & (table["number"] == 1)
    table.loc[lucky, "creative"] = 1.0  # by chance, and in one model only
    best = frontier.best(table, "creative")
    assert (best["number"] == 2).loc[best["run_id"] == "m0"].all()
    gains = best[best["sampler"] == "top-p"].set_index("run_id")["gain"]
    np.testing.assert_allclose(gains, [0.1, 0.101, 0.102, 0.103], atol=0.06)


def test_what_is_no_document_of_the_source_is_invalid():
    known = KNOWN_SOURCES[GRAMMAR]
    [document] = known.draw(np.random.default_rng(0), 1).tolist()
    tokens = [symbol + ord(known.first) + frontier.FIRST_BYTE for symbol in document]
    texts = [
        (*tokens, frontier.EOS),
        (*tokens[:-1], frontier.EOS),
        (*tokens[:-1], 5, frontier.EOS),
        (*tokens, 9),
    ]
    nats = frontier.nats_of(known, texts)
    assert nats[0] == pytest.approx(known.nats(np.array([document]))[0])
    assert np.isinf(nats[1:]).all()
    training = frontier.Training(frozenset(), frontier.novelty.suffix_array([tokens[:8]]))
    found = frontier.measured(known, texts[:2] * 2, np.ones(4), training)
    assert found["valid"] == 0.5 and found["creative"] == 0.25 and found["novel"] == 1.0
    assert found["longest_copied"] == 8 and found["entropy"] == 1.0


def test_less_diversity_is_told_whatever_way_a_measure_points():
    rows = [
        {"policy": policy, "seed": seed, "gold": 1.0 + less + 0.1 * seed * less}
        | {"entropy": 9 - less * (1 + 0.01 * seed)}
        | {"unique": 0.9 - (0.1 + 0.01 * seed) * less, "self_bleu": 0.3 + (0.1 + 0.01 * seed) * less}
        | {"distinct_2": 0.5 + 0.01 * seed * less, "across_self_bleu": 0.5 + 0.01 * seed * less}
        for policy, less in (("pretrained", 0), ("SFT", 0), ("DPO", 1), ("PPO", 2))
        for seed in range(3)
    ]
    found = {(row["policy"], row["measure"]): row for row in policies.changes(pd.DataFrame(rows), 0.9)}
    assert found["DPO", "entropy"]["less"] and found["DPO", "self_bleu"]["less"]
    assert found["PPO", "unique"]["mean"] == pytest.approx(-0.22)
    assert not found["PPO", "distinct_2"]["less"]
    assert figures.policies(pd.DataFrame(rows)).startswith(b"\x89PNG")


def test_temperatures_without_the_predicted_one_are_refused():
    with pytest.raises(ValueError, match="1 is one of them"):
        load_study("creativity", ["temperatures=[0.5,0.7]"])
    assert len({name for name, *_ in Settings().samplers}) == 7


TINY = ("widths=[8,16,24]", "n_tokens=[16320,21760,27200]", "n_seeds=2", "n_sampled=32")
TINY += ("temperatures=[0.5,1.0,1.5]", "top_ps=[0.5,0.9]", "top_ks=[2,4]", "min_ps=[0.05,0.3]")
TINY += ("policy_seeds=2", "policy_width=8", "pretrain_steps=4", "sft_steps=4", "dpo_steps=2", "ppo_steps=2")
TINY += ("n_prompts=8", "n_responses=4", "n_bootstrap=20", "gold.n_examples=256")


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_runs_to_its_end(tmp_path):
    folder = tmp_path / "study"
    flags = [f"--set={override}" for override in TINY]
    assert isoflop("study", "creativity", "--out", str(folder), "--workers=1", *flags) == 0
    for name in ("creativity", "policies"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "creativity.csv")
    assert len(table) == 3 * 2 * (3 + 2 * 6) and table["entropy"].gt(0).all()
    found = json.loads((folder / "creativity.json").read_text())
    assert 0 <= found["prediction"]["valid"]["lo"] <= found["prediction"]["valid"]["hi"] <= 1
    assert found["source"]["valid"] == 1
    assert "said before it trained" in words.conclusion(found)
