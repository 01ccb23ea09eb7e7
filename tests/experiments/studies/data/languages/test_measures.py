"""Differences between samplings, the law and transfer, on planted bits."""

import numpy as np
import pandas as pd
import pytest

from experiments.studies.data.languages import measures

SEEDS = (0, 1, 2)


def planted(bits) -> pd.DataFrame:
    """A row for each sampling, language and seed, with `bits(sampling, language, seed)`."""
    names = ("α = 1", "α = 0.3", "UniMax", "enough")
    rows = [
        {"sampling": name, "language": code, "seed": seed, "bits": bits(name, code, seed)}
        for name in names
        for code in ("en", "de", "is", "hi")
        for seed in SEEDS
    ]
    return pd.DataFrame(rows)


@pytest.mark.filterwarnings("ignore:Precision loss")  # differences of planted bits have no noise
def test_directions_hold_where_they_were_planted():
    change = {
        "α = 1": {"en": -0.1, "de": -0.1, "is": 0.3, "hi": 0.3},
        "UniMax": dict.fromkeys(["is", "hi"], -0.1),
    }

    def bits(name, code, seed):
        return 100 * (1 + change.get(name, {}).get(code, 0.0) + 0.001 * seed * (name == "UniMax"))

    low, high, unimax, head = measures.directions(planted(bits), (1.0, 0.3), 0.9)
    assert low["change"] == pytest.approx(1 / 1.3 - 1) and low["n_lower"] == low["n_languages"] == 2
    assert high["change"] == pytest.approx(1 / 0.9 - 1) and high["n_lower"] == 0
    half = 2.919986 * 0.001 / np.sqrt(3)  # Student's t, two degrees of freedom
    assert [unimax[key] for key in ("change", "lo", "hi")] == pytest.approx(
        [-0.049, -0.049 - half, -0.049 + half]
    )
    assert low["holds"] and high["holds"] and unimax["holds"] and not head["holds"]


def test_the_law_of_planted_bits_is_found_and_holds_for_languages_kept_apart():
    draw = np.random.default_rng(0)

    def law(tokens):
        return 0.9 + 40 / (tokens + 2e3) ** 0.6

    rows = [
        {"sampling": f"α = {i}", "language": f"l{k}", "seed": seed, "language_tokens": tokens}
        for i, k, tokens in zip(np.tile(range(3), 12), np.repeat(range(12), 3), np.geomspace(1e2, 2e5, 36))
        for seed in SEEDS
    ]
    table = pd.DataFrame(rows).assign(
        ratio=lambda t: law(t["language_tokens"]) * np.exp(0.002 * draw.normal(size=len(t)))
    )
    rows = measures.law_table(table)
    assert len(rows) == 36 and set(rows["run_id"]) == set(rows["language"])
    fit = measures.fit_law(pd.DataFrame(rows[~rows["language"].isin(["l0", "l7"])]), 20, 0.9, 0)
    assert fit.status == "converged" and fit.params["beta"] == pytest.approx(0.6, rel=0.2)
    apart = rows[rows["language"].isin(["l0", "l7"])]
    said = fit.predict(language_tokens=apart["language_tokens"].to_numpy())
    assert np.allclose(said.loss, law(apart["language_tokens"]), rtol=0.01)


def test_what_a_language_gets_from_another_is_the_part_of_its_bits_that_goes():
    bits = {"es": {"es": 100, "pt": 130}, "pt": {"pt": 110, "es": 150}, "es+pt": {"es": 80, "pt": 99}}
    bits |= {
        "fi": {"fi": 90, "es": 200, "pt": 220},
        "es+fi": {"es": 98, "fi": 90},
        "fi+pt": {"fi": 87, "pt": 108},
    }
    bits["es"]["fi"], bits["pt"]["fi"] = 300, 300
    rows = [
        {"sampling": name, "language": code, "seed": seed, "bits": value}
        for name, each in bits.items()
        for code, value in each.items()
        for seed in SEEDS
    ]
    pairs = measures.gains(pd.DataFrame(rows), ("es", "pt", "fi"), 0.9)
    assert len(pairs) == 6
    first = pairs.iloc[0]
    assert (first["learner"], first["helper"]) == ("es", "pt")
    assert first["gain"] == pytest.approx(0.2) and first["strange"] == pytest.approx(1.5)
    related, unrelated = measures.by_kinship(pairs, 0.9)
    assert related["gain"] == pytest.approx((0.2 + 0.1) / 2) and related["n"] == 2
    assert unrelated["gain"] == pytest.approx((0.02 + 2 / 110 + 0 + 3 / 90) / 4)
    assert related["p"] == pytest.approx(1 / 15) and unrelated["p"] is None  # the first 2 of 6 in rank


def test_bits_a_byte_may_say_the_opposite_of_bits_a_sentence():
    table = pd.DataFrame(
        {"vocabulary": "bytes", "language": ["en", "hi", "th"], "bits": [300.0, 400, 500]}
    ).assign(tokens=[100.0, 200, 300], bytes=[100.0, 200, 300])
    (found,) = measures.cost(table)
    assert found["tokens_and_bits"] == 1 and found["bits_per_byte_and_bits"] == -1
    assert found["spread_of_bits"] == pytest.approx(5 / 3) and found["spread_of_tokens"] == 3
