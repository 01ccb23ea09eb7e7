"""The study of known entropy: its runs, and what it concludes from losses of a known law."""

import json

import numpy as np
import pandas as pd
import pytest

import models
from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.data_configs import DataConfig
from experiments.studies.data import known_entropy
from scaling.table.runs import Runs

DATA = {name: DataConfig(task=name) for name in KNOWN_SOURCES}


def test_every_run_reads_whole_documents_of_its_source_and_widths_share_their_beginning():
    runs = known_entropy.plan(known_entropy.Settings(), DATA)
    assert len(runs) == len({config.run_id for _, config in runs}) == 3 * 3 * 4 * 4
    for name, config in runs:
        assert config.data.task == name and config.seq_len == KNOWN_SOURCES[name].row_length
    assert len({config.prefix_key for _, config in runs}) == 3 * 3 * 4


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('sources=["english"]', "there are zipf_skills, markov, grammar"),
        ("widths=[8]", "6 runs or more"),
        ("level=2.0", "must be between 0 and 1"),
    ],
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        known_entropy.study([override])


@pytest.mark.slow
def test_an_irreducible_loss_that_is_there_is_found_and_the_excess_has_its_exponents(tmp_path, monkeypatch):
    """Losses of E + a product of power laws in the place of measured ones."""
    settings = known_entropy.Settings(
        sources=("markov", "grammar"),
        n_seeds=1,
        n_bootstrap=30,
        widths=(8, 16, 24, 32, 48),
        n_tokens=(200_000, 400_000, 800_000, 1_600_000),
    )
    monkeypatch.setattr(known_entropy, "ideal_loss", lambda config, source: 2.0)
    monkeypatch.setattr(known_entropy, "REACHES", (8,))
    rng, rows = np.random.default_rng(0), []
    for name, config in known_entropy.plan(settings, DATA):
        n, d = models.count(config.model).n_params, config.n_tokens
        excess = 3e3 / n + 3e4 / d if name == "markov" else 30 * n**-0.3 * d**-0.2
        loss = 2.0 + excess * np.exp(0.003 * rng.standard_normal())
        numbers = {"n_params": n, "n_tokens": d, "flops": 6.0 * n * d, "loss": loss}
        rows.append({"run_id": config.run_id, "status": "done"} | numbers)
    words = known_entropy.finish(settings, DATA, tmp_path, Runs(pd.DataFrame(rows)))
    found = json.loads((tmp_path / "known_entropy.json").read_text())
    markov = found["networks"][0]
    assert markov["lo"] <= 2.0 <= markov["hi"] and markov["E"] == pytest.approx(2.0, abs=0.01)
    grammar = found["excess"][1]
    assert (grammar["n_exponent"], grammar["d_exponent"]) == pytest.approx((0.3, 0.2), abs=0.02)
    assert "no model is below the entropy" in words and "apart, to 512 skills" in words
    assert (tmp_path / "known_entropy.png").read_bytes()[:4] == b"\x89PNG"
    assert len(pd.read_csv(tmp_path / "known_entropy.csv")) == len(rows)


def test_a_model_below_the_entropy_is_said():
    table = pd.DataFrame({"n_params": [1e3, 2e3, 4e3], "n_tokens": [1e5] * 3, "excess": [0.2, 0.1, -0.01]})
    law = known_entropy.excess_law("markov", table)
    assert law["below"] == 1 and law["least"] == -0.01 and law["n_exponent"] == pytest.approx(1.0)


def test_how_far_one_must_go_follows_from_the_law_of_the_excess():
    law = {"n_exponent": 0.3, "d_exponent": 0.2, "least": 0.08}
    assert known_entropy.further(law, 2.0) == pytest.approx(16)  # 4 times less, by the square root
    assert known_entropy.further(law | {"least": 0.01}, 2.0) == 1
