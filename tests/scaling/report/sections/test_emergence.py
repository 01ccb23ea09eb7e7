"""The sections on emergence and inverse scaling, from planted tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.report.sections.emergence import sections


@pytest.fixture(scope="module")
def made(study):
    """Token accuracy creeps, exact match is its power; the loss of one place rises, of the other falls."""
    flops = np.geomspace(1e9, 1e13, 10)
    scatter = np.exp(0.03 * np.random.default_rng(0).standard_normal(10))
    accuracy = np.exp(-0.35 * np.exp(-1.2 * np.linspace(-1, 1, 10)) * scatter)  # a power law of compute
    rows = [
        {"run_id": i, "n_params": 1000, "n_tokens": 1000, "flops": c, "n_answer": n, "n_questions": 2000,
         "exact_match": round(2000 * p**n) / 2000, "token_accuracy": p, "token_loss": 1.0, "brier": 1 - p}
        for n in (2, 8) for i, (c, p) in enumerate(zip(flops, accuracy))
    ]  # fmt: skip
    places = [
        {"run_id": i, "n_params": 1000, "flops": c, "place": place, "loss": 3 + slope * i, "se": 0.05}
        for place, slope in (("the misprint itself", 0.2), ("after it", -0.2)) for i, c in enumerate(flops)
    ]  # fmt: skip
    return sections(replace(study, emergence=pd.DataFrame(rows), misprints=pd.DataFrame(places)))


def test_a_jump_of_the_metric_is_called_so(made):
    emergent = made[0]
    assert emergent.text.count("all of it the metric's doing") == 2
    drawn = pd.DataFrame(emergent.figures[0].spec["datasets"]["answers"])
    np.testing.assert_allclose(drawn.predicted, drawn.exact_match, atol=0.03)
    assert set(drawn.n_answer) == {2, 8}
    assert [figure.name for figure in emergent.figures] == [
        *("emergence_exact", "emergence_tokens", "emergence_brier"),
    ]


def test_what_gets_worse_is_flagged_with_evidence(made):
    text = made[1].text
    assert "Loss of the misprint itself: Inverse scaling: it gets worse with scale" in text
    assert "Loss of after it: It gets better with scale" in text and "p = " in text


def test_a_study_without_these_tables_has_no_such_sections(study):
    assert sections(study) == []
