"""Ways to spend compute at test time, on models that are right as often as they are told to be."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

import models
from experiments.data.sources import walks
from experiments.studies import load_study
from experiments.studies.test_time_compute import study as ttc
from models.decoding.sample import Sample
from scaling.table.runs import Runs


def said(text: str, *logprobs: float) -> Sample:
    tokens = tuple(ttc.VOCAB.encode(text))
    return Sample(tokens, logprobs or (-1.0,) * len(tokens), "eos")


def test_only_whole_lines_are_answers():
    assert ttc.written(said("41025\n").tokens) == "41025"
    for text in ("41025", "4102\n", "4102x\n", "410255", ""):
        assert ttc.written(said(text).tokens) is None
    found = ttc.right([[said("41025\n"), said("00005\n"), said("41024\n"), said("1025\n")]], ["5"])
    np.testing.assert_array_equal(found, [[1, 1, 0, 0]])


def test_methods_choose_as_their_names_say():
    last = {end: str(walks.TABLE[2][end]) for end in (3, 4)}  # what follows state 2
    choices = ttc.choices([("47923=", "????" + last[3])])
    some = [
        said(f"4112{last[4]}\n", -1, -1, -1, -1, -1, -1),
        said(f"1112{last[3]}\n", -2, -2, -2, -2, -2, -1),  # the check passes, whatever came before
        said(f"4112{last[3]}\n", -1, -1, -1, -1, -1, -2),
        said("nonsense", -0.1),
    ]
    chosen = {method: choose(0, some) for method, choose in choices.items()}
    assert chosen == {ttc.LIKELIEST: 3, ttc.PER_TOKEN: 3, ttc.REWARD: 1, ttc.VOTE: 1}
    right_QN = ttc.right([some], [last[3]])
    np.testing.assert_array_equal(right_QN, [[0, 1, 1, 0]])
    np.testing.assert_allclose(ttc.of_groups([some], right_QN, 2, choices[ttc.LIKELIEST]), [0.0])


def test_settings_that_cannot_be_are_refused():
    for override in ("sizes=[64]", "n_questions=1", "temperature=-1", "training=[]", "data.task=docstrings"):
        with pytest.raises(ValueError, match=override.split("=")[0]):
            load_study("test_time_compute", [override])


def test_asked_in_every_way(tmp_path, monkeypatch):
    """An untrained model: shapes, costs and consistency of the table."""
    overrides = ["n_questions=6", "n_samples=4", "sizes=[1,4]", "beams=[2]"]
    overrides.append('training=[{"d_model": 16, "n_tokens": 100000}]')
    study = load_study("test_time_compute", overrides)
    [config] = ttc.plan(study.settings)
    model = models.build(config.model)
    params = jax.jit(model.init)(jax.random.key(0))
    monkeypatch.setattr(ttc, "load", lambda run: (config, params))
    run = {"run_id": "a", "status": "done", "d_model": 16, "n_tokens": 100000, "n_params": 1, "flops": 1.0}
    words = ttc.finish(study.settings, tmp_path, Runs(pd.DataFrame([run])))
    table = pd.read_csv(tmp_path / "test_time_compute.csv").set_index(["method", "n"])
    assert len(table) == 2 + 2 * 5 and "majority vote, n = 4" in words
    # All ways of choosing one sample of one are the same, and cost the same.
    assert table.xs(1, level="n").drop(ttc.GREEDY)[["right", "flops"]].drop_duplicates().shape == (1, 2)
    per_token = models.count(config.model).forward_flops_per_token(7 + ttc.MAX_TOKENS)
    assert (table["flops"] <= per_token * (7 + 4 * (ttc.MAX_TOKENS - 1))).all()
    assert table.loc[(ttc.VOTE, 4), "flops"] > table.loc[(ttc.VOTE, 1), "flops"] >= per_token * 7
    assert json.loads((tmp_path / "test_time_compute.json").read_text())["settings"]["n_samples"] == 4
    assert (tmp_path / "test_time_compute.png").read_bytes().startswith(b"\x89PNG")
