"""Runs that no law of the loss is fitted to: planted ones are found and named, sound ones are left."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.table.runs import check
from tests.scaling.planted import isoflop_runs

SOUND = isoflop_runs(noise=0.002).table[["n_params", "n_tokens", "loss"]]
SOUND = SOUND.assign(
    run_id=[f"r{i}" for i in range(len(SOUND))],
    lr=0.01 * (SOUND.n_params / 1e8) ** -0.3,
    batch_tokens=0.58 * SOUND.n_tokens**0.571,
)


def usable(table, columns=("n_params", "n_tokens"), keep_all=False):
    return dataclasses.replace(check(table, {}), keep_all=keep_all).usable("loss", columns)


def planted(row: int, **cells) -> pd.DataFrame:
    table = SOUND.copy()
    for name, value in cells.items():
        table.loc[row, name] = value
    return table


def test_sound_runs_are_all_fitted():
    runs = usable(SOUND.assign(warmup_steps=100, n_steps=SOUND.n_tokens / SOUND.batch_tokens))
    assert len(runs.table) == len(SOUND) and runs.unfit == () and runs.notes == () and runs.dropped == 0


@pytest.mark.parametrize(
    "cells, rule, what",
    [
        ({"batch_tokens": SOUND.n_tokens[4] / 60}, "starved of steps (fewer than 100,", "60 steps of"),
        ({"batch_tokens": 12 * SOUND.batch_tokens[4]}, "more than 10 times the best", " steps of "),
        (
            {"warmup_tokens": 0.4 * SOUND.n_tokens[4]},
            "a warm-up of fixed length",
            "40% of the run is warm-up",
        ),
        (
            {"schedule.warmup_steps": 0.3 * SOUND.n_tokens[4] / SOUND.batch_tokens[4]},
            "more than 25%",
            "30% of",
        ),
    ],
)
def test_a_planted_run_is_left_out_by_name_and_rule_and_kept_when_asked(cells, rule, what):
    table = planted(4, **cells)
    runs = usable(table)
    assert list(runs.table.run_id) == [name for name in SOUND.run_id if name != "r4"] and runs.dropped == 1
    assert runs.notes[0].startswith(f"left out 1 of {len(SOUND)} rows: ") and rule in runs.notes[0]
    assert runs.notes[1].startswith("run r4: ") and what in runs.notes[1]
    (about,) = runs.unfit
    assert about["run_id"] == "r4" and about["loss"] == table.loss[4] and what in about["why"]
    kept = usable(table, keep_all=True)
    assert len(kept.table) == len(SOUND) and kept.unfit == () and kept.notes[0].startswith("kept 1 of")


def test_what_most_runs_break_is_how_the_table_was_made():
    runs = usable(SOUND.assign(batch_tokens=SOUND.n_tokens / 50))
    assert (
        len(runs.table) == len(SOUND) and "too few would be left, so the law is of such runs" in runs.notes[0]
    )
    assert runs.notes[-1] == f"and {len(SOUND) - 5} more such rows"
    few = usable(planted(4, batch_tokens=SOUND.n_tokens[4] / 60)[:10])
    assert len(few.table) == 10 and few.notes[0].startswith("kept 1 of 10 rows") and few.unfit == ()


def sweep() -> pd.DataFrame:
    """Each run at its rate, at twice and four times it, which lose 0.2 and 2 %, and under another seed."""
    rates = [
        SOUND.assign(lr=SOUND.lr * k, loss=SOUND.loss * up, run_id=SOUND.run_id + f"x{k}")
        for k, up in ((1, 1.0), (2, 1.002), (4, 1.02))
    ]
    again = SOUND.assign(loss=SOUND.loss * 1.008, run_id=SOUND.run_id + "again")
    return pd.concat([*rates, again], ignore_index=True).sample(frac=1.0, random_state=0, ignore_index=True)


def test_of_a_sweep_the_best_and_what_seeds_may_do_are_fitted():
    runs = usable(sweep())
    assert {name.partition("x")[2] for name in runs.table.run_id if "x" in name} == {"1", "2"}
    assert sum(runs.table.run_id.str.endswith("again")) == len(SOUND)
    assert len(runs.unfit) == len(SOUND) and all("2.00% above the best" in each["why"] for each in runs.unfit)
    of_kinds = usable(
        sweep().assign(optimizer=lambda t: np.where(t.run_id.str.endswith("x4"), "sgd", "adamw"))
    )
    assert of_kinds.unfit == ()  # each optimizer has a best of its own


def test_a_rule_does_not_judge_what_the_law_reads():
    table = planted(4, batch_tokens=SOUND.n_tokens[4] / 60)
    assert usable(table, ("n_params", "n_tokens", "batch_tokens")).unfit == ()
    assert len(check(sweep(), {}).usable("loss", ("n_params", "n_tokens", "lr")).table) == 4 * len(SOUND)


def test_a_grid_far_from_the_sizes_that_were_tuned_is_said():
    tuned = SOUND.nsmallest(3, "n_params").assign(stage="tune", run_id=["a", "b", "c"])
    table = pd.concat([SOUND.assign(stage="grid"), tuned], ignore_index=True)
    far = int((SOUND.n_params > 10 * tuned.n_params.max()).sum())
    said = [note for note in check(table, {}).usable().notes if "extrapolated" in note and "n_params" in note]
    assert bool(said) == (far > 0) and all(
        note.startswith(f"{far} of {len(SOUND)} rows have") for note in said
    )
    near = table.assign(n_params=np.where(table.stage == "tune", np.median(SOUND.n_params), table.n_params))
    assert not any("n_params more than" in note for note in check(near, {}).usable().notes)


def test_a_fit_says_what_was_left_out_and_keeps_it_in_json():
    plain = scaling.fit(SOUND.drop(index=4).drop(columns=["lr", "batch_tokens"]), n_bootstrap=0)
    fit = scaling.fit(planted(4, batch_tokens=SOUND.n_tokens[4] / 60, loss=9.0), n_bootstrap=0)
    assert fit.params == plain.params  # as without the row, to the last bit
    assert "(1 unfit rows left out)" in fit.predicted_by and "run r4: 60 steps" in str(fit)
    again = scaling.Fit.from_json(fit.to_json())
    assert (
        again.unfit == fit.unfit and again.unfit[0]["run_id"] == "r4" and "60 steps" in again.unfit[0]["why"]
    )
    old = fit.to_json()
    del old["unfit"], old["design"]
    assert scaling.Fit.from_json(old).unfit == ()


def test_a_setting_that_is_not_known_is_not_another_one():
    table = pd.concat([SOUND, SOUND.assign(loss=SOUND.loss * 1.02)], ignore_index=True)
    assert usable(table.assign(lr=np.nan)).unfit == ()
    table.loc[len(SOUND) :, "lr"] *= 2
    assert len(usable(table).unfit) == len(SOUND)


def test_runs_left_out_say_what_is_known_of_them_alone():
    table = planted(4, batch_tokens=SOUND.n_tokens[4] / 60, lr=np.nan)
    [left_out] = usable(table).unfit
    assert "lr" not in left_out and left_out["run_id"] == "r4"
    assert usable(table.assign(batch_tokens=0)).unfit == ()
