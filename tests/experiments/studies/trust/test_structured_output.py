"""The study of form: what its comparisons say of planted ones, and a tiny study to its end."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies.trust.structured_output import measures
from experiments.studies.trust.structured_output.measures import CONSTRAINED, GENERATED, HEADS, LEARNT, PROMPT
from experiments.studies.trust.structured_output.study import Settings, transferred
from tests.tiny_run import isoflop

SIZES = (10_000, 20_000, 40_000)


def planted(right: dict[str, list[float]]) -> pd.DataFrame:
    """Three seeds about the shares of each way by size; ways that are not given are half right."""
    rng, rows = np.random.default_rng(0), []
    for way in (*GENERATED, *HEADS):
        for size, share in zip(SIZES, right.get(way, [0.5] * len(SIZES))):
            for seed in range(3):
                here = share + 0.01 * rng.standard_normal()
                row = {
                    "way": way,
                    "n_params": size,
                    "seed": seed,
                    "right": here,
                    "label": here,
                    "valid": here,
                }
                rows.append(row | {"bias": 0.02 if way == CONSTRAINED else np.nan})
    return pd.DataFrame(rows)


def crossings(table: pd.DataFrame) -> dict[tuple[str, str], dict]:
    """Of shares that are right."""
    found = measures.crossings(table, 0.9, 0)
    return {(each["one"], each["other"]): each for each in found if each["measure"] == "right"}


def test_a_crossing_lies_where_a_way_is_overtaken():
    """The constraint is ahead of learnt repair at the first size, level at the geometric mean of the next."""
    table = planted({CONSTRAINED: [0.6, 0.6, 0.6], LEARNT: [0.2, 0.5, 0.7], PROMPT: [0.1, 0.2, 0.3]})
    found = crossings(table)
    overtaken = found[CONSTRAINED, LEARNT]
    assert overtaken["lo"] < overtaken["at"] < overtaken["hi"]
    assert overtaken["at"] == pytest.approx(20_000 * 2**0.5, rel=0.1)
    assert found[CONSTRAINED, PROMPT]["beyond"] == "above"
    assert "at every size from 10,000 to 40,000" in measures.crossing_in_words(found[CONSTRAINED, PROMPT])
    assert "up to 2" in measures.crossing_in_words(overtaken) and not overtaken["begins"]
    table = planted({CONSTRAINED: [0.3, 0.5, 0.7], LEARNT: [0.6, 0.6, 0.6]})
    begins = crossings(table)
    assert begins[CONSTRAINED, LEARNT]["begins"]
    assert begins[CONSTRAINED, LEARNT]["at"] == pytest.approx(20_000 * 2**0.5, rel=0.1)
    assert "from 2" in measures.crossing_in_words(begins[CONSTRAINED, LEARNT])


def test_differences_are_told_with_their_sign_and_chance():
    table = planted({CONSTRAINED: [0.6, 0.7, 0.8], PROMPT: [0.3, 0.4, 0.5]})
    found = {(each["one"], each["other"]): each for each in measures.differences(table, 0.9)}
    gain = found[CONSTRAINED, PROMPT]
    assert gain["lo"] < 0.3 < gain["hi"] and gain["p"] < 1e-6 and gain["n"] == 9
    assert found[measures.WHOLE, measures.HEAD]["p"] > 0.01
    assert found[CONSTRAINED, "its weights"]["mean"] == pytest.approx(0.02)


def test_what_was_predicted_is_compared_seed_by_seed():
    largest = pd.DataFrame({"way": [PROMPT] * 3, "valid": [0.5, 0.6, 0.9]})
    said = [{"way": PROMPT, "measure": "valid", "predicted": 0.55, "lo": 0.4, "hi": 0.7}]
    [found] = measures.verified(said, largest)
    assert found["inside"] == 2 and found["measured"] == [0.5, 0.6, 0.9]


def test_all_that_is_made_of_a_model_starts_from_it_and_learns_from_the_same_questions():
    made = transferred(Settings(), 16, 1)
    runs = (made.fine_tuned, *made.heads.values())
    assert {run.init.source for run in runs if run.init} == {made.pretrained.run_id}
    assert len({json.dumps(vars(run.examples.queries)) for run in runs if run.examples}) == 1
    assert [run.init.train for run in made.heads.values() if run.init] == [
        ("head/*",),
        ("body/blocks/*",),
        (),
    ]


def test_settings_without_crossings_are_refused():
    for changes in ({"widths": (16, 24, 32)}, {"widths": (16, 32, 24, 40)}, {"n_seeds": 1}):
        with pytest.raises(ValueError, match="the law takes three widths below the largest"):
            Settings(**changes)


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_runs_to_its_end(tmp_path):
    folder = tmp_path / "study"
    changes = (
        *(
            "widths=[8,16,24,32]",
            "n_seeds=2",
            "pretrain_steps=8",
            "n_examples=32",
            "sft_steps=4",
            "head_steps=4",
        ),
        *("sampling.n_questions=4", "sampling.n=2", "sampling.n_mined=8", "n_bootstrap=20"),
    )
    flags = [f"--set={override}" for override in changes]
    assert isoflop("study", "structured_output", "--out", str(folder), "--workers=1", *flags) == 0
    assert (folder / "structured_output.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "structured_output.json").read_text())["verify"]
    table = pd.read_csv(folder / "structured_output.csv")
    assert len(table) == 4 * 2 * len((*GENERATED, *HEADS))
    assert (table.loc[table["way"] == CONSTRAINED, "valid"] == 1).all()
    assert (pd.read_csv(folder / "runs.csv")["status"] == "done").all()
