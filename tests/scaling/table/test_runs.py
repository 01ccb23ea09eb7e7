"""Tables of runs: what is read, what is refused, and that every bad row is named."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.table.runs import check, read_points, read_runs


def table(n=8, **columns):
    n_params = np.geomspace(1e4, 1e6, n)
    made = {"n_params": n_params, "n_tokens": 20 * n_params, "loss": 2 + 100 / n_params}
    return pd.DataFrame(made).assign(**columns)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "csv.gz"])
def test_every_format_gives_the_same_runs(tmp_path, suffix):
    path = tmp_path / f"runs.{suffix}"
    write = {"csv": "to_csv", "jsonl": "to_json", "parquet": "to_parquet"}[suffix.split(".")[0]]
    how = (
        {"orient": "records", "lines": True, "double_precision": 15}
        if suffix == "jsonl"
        else {"index": False}
    )
    getattr(table(), write)(path, **how)
    pd.testing.assert_frame_equal(read_runs(path).table[["n_params", "loss"]], table()[["n_params", "loss"]])


def test_missing_flops_are_six_n_d_and_said(tmp_path):
    runs = check(table(), {})
    np.testing.assert_allclose(runs.table.flops, 6 * runs.table.n_params * runs.table.n_tokens)
    assert "6 * n_params * n_tokens" in runs.conventions["flops"]


def test_a_law_of_other_columns_needs_neither_sizes_nor_flops():
    samples = pd.DataFrame({"k": [1, 2, 4, 0, "many"], "pass_rate": [0.0, 0.3, 0.4, 0.5, 0.6]})
    runs = check(samples, {}, needed=("k", "pass_rate"))
    assert list(runs.table.k) == [1, 2, 4] and not {"flops", "n_tokens"} & set(runs.table)
    assert "row 4: k=0.0 must be positive, from 1e-40 to 1e+40, row dropped" in runs.notes
    with pytest.raises(ValueError, match="no column accuracy"):
        check(table(), {}, needed=("loss", "accuracy"))


def test_six_n_d_does_not_overflow_for_integers(tmp_path):
    path = tmp_path / "big.csv"
    path.write_text("N,D,loss\n70000000000,1400000000000,1.9\n7000000000,140000000000,2.2\n")
    runs = read_runs(path, {"n_params": "N", "n_tokens": "D"})
    assert runs.table.flops[0] == pytest.approx(5.88e23)


def test_missing_tokens_come_from_flops_and_said():
    given = table().assign(flops=lambda t: 6 * t.n_params * t.n_tokens).drop(columns="n_tokens")
    runs = check(given, {})
    np.testing.assert_allclose(runs.table.n_tokens, 20 * runs.table.n_params)
    assert "flops / (6 * n_params)" in runs.conventions["n_tokens"]


def test_of_experts_only_the_active_ones_cost_flops():
    runs = check(table(n_active=lambda t: t.n_params / 8), {})
    np.testing.assert_allclose(runs.table.flops, 6 / 8 * runs.table.n_params * runs.table.n_tokens)
    assert "6 * n_active * n_tokens" in runs.conventions["flops"]
    alone = check(table(n_active=1e6).drop(columns="n_params"), {}, needed=("n_active", "n_tokens", "loss"))
    np.testing.assert_allclose(alone.table.flops, 6e6 * alone.table.n_tokens)


@pytest.mark.parametrize("name", ["my.runs.csv", "my.runs.csv.gz"])
def test_a_file_beside_a_table_states_its_conventions(tmp_path, name):
    table().to_csv(tmp_path / name, index=False)
    (tmp_path / "my.runs.json").write_text('{"conventions": {"n_params": "without embeddings"}}')
    assert read_runs(tmp_path / name).conventions["n_params"] == "without embeddings"
    (tmp_path / "my.runs.json").write_text("[1, 2]")  # no sidecar, something of the user's own
    assert "not stated" in read_runs(tmp_path / name).conventions["n_params"]


@pytest.mark.parametrize(
    "column, value",
    [("n_params", -1.0), ("n_params", np.inf), ("n_tokens", 0.0), ("loss", -2.0), ("n_tokens", np.nan)],
)
def test_a_bad_value_is_named_with_row_and_column_and_dropped(column, value):
    bad = table()
    bad.loc[3, column] = value
    runs = check(bad, {})
    assert len(runs.table) == 7 and runs.dropped == 1
    assert any(f"row 4: {column}={value}" in note and "dropped" in note for note in runs.notes)


def test_a_row_out_of_all_proportion_is_dropped_and_named():
    bad = table()
    bad.loc[2, "n_params"] = 1e30
    runs = check(bad, {})
    assert runs.dropped == 1
    assert "row 3: n_params=1e+30 is out of all proportion to the other rows, row dropped" in runs.notes


def test_text_among_numbers_is_named_with_what_it_says():
    bad = table().astype(object)
    bad.loc[2, "n_params"] = "dozens"
    runs = check(bad, {})
    assert "row 3: n_params=dozens is not a number, read as missing" in runs.notes
    assert any(note.startswith("row 3: n_params=dozens must be positive") for note in runs.notes)
    assert len(runs.table) == 7


@pytest.mark.parametrize("style", ["{:,}", "{:_}", "{:e}", "dots"])
def test_numbers_of_people_are_read_and_said(style):
    given = table(n_params=lambda t: t.n_params.round() * 1e3).astype({"n_params": int})
    texts = [f"{n:,}".replace(",", ".") if style == "dots" else style.format(n) for n in given.n_params]
    runs = check(given.assign(n_params=texts), {})
    np.testing.assert_allclose(runs.table.n_params, given.n_params, rtol=1e-5)
    said = [note for note in runs.notes if "is read as" in note]
    assert said == (
        [] if style in ("{:e}", "{:_}") else [f"n_params: {texts[0]} is read as 10000000, and 7 more alike"]
    )


def test_what_may_be_thousands_or_decimals_is_refused_with_the_reason():
    given = table().astype(object)
    given.loc[2, "loss"] = "3,125"
    runs = check(given, {})
    assert len(runs.table) == 7 and runs.dropped == 1
    assert any("row 3: loss=3,125 has a mark of thousands or of decimals" in note for note in runs.notes)
    with pytest.raises(ValueError, match=r"none of 8 rows is usable; row 1: loss=3,125 has a mark of"):
        check(table(loss="3,125"), {})


def test_a_unit_in_the_name_of_a_column_counts_also_where_the_user_named_it(tmp_path):
    path = tmp_path / "runs.csv"
    text = "size (M),tokens (B),loss (nats)\n124,2.5,3.1\n1.5B,300,2.5\n"
    path.write_text(text)
    runs = read_runs(path, {"n_params": "size (M)"})
    assert list(runs.table.n_params) == [124e6, 1.5e9] and list(runs.table.n_tokens) == [2.5e9, 3e11]
    assert "n_tokens: 2.5 is read as 2500000000, and 1 more alike" in runs.notes
    _, points = read_points(path, {"n_params": "size (M)"})
    assert list(points["n_params"]) == [124e6, 1.5e9]
    path.write_text(text.replace("124", '"7,121"'))
    with pytest.raises(ValueError, match="row 1: n_params=7,121 has a mark of thousands or of decimals"):
        read_points(path, {"n_params": "size (M)"})


def test_repeated_rows_are_dropped_but_seeds_are_kept():
    seeds = pd.concat([table(), table().assign(loss=lambda t: t.loss * 1.01)])
    assert len(check(seeds, {}).table) == 16
    runs = check(pd.concat([table(), table().iloc[:1]]), {})
    assert len(runs.table) == 8 and any("row 9" in note and "repeats" in note for note in runs.notes)


def test_diverged_runs_stay_in_the_table_and_out_of_fits():
    lost = table(status="done")
    lost.loc[0, "loss"] = np.inf
    lost.loc[1, ["status", "loss"]] = ["diverged", 7.0]
    runs = check(lost, {})
    usable = runs.usable()
    assert len(runs.table) == 8 and len(usable.table) == 6 and usable.dropped == 2
    assert "2 of 8" in usable.notes[-1] and "diverged" in usable.notes[-1]


def test_of_a_study_only_the_grid_is_fitted(tmp_path):
    stages = ["tune", "tune", "grid", "grid", "grid", "grid", "extend", "verify"]
    table(stage=stages).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "runs.json").write_text(json.dumps({"conventions": {"loss": "nats per byte"}}))
    runs = read_runs(tmp_path)
    assert set(runs.usable().table.stage) == {"grid", "extend"}
    assert runs.conventions["loss"] == "nats per byte"


def test_the_losses_of_post_trained_runs_are_not_mixed_with_those_of_text():
    table = pd.DataFrame({"n_params": [1e6, 2e6, 1e6], "n_tokens": 1e8, "loss": [3.0, 2.9, 0.1]})
    mixed = check(table.assign(objective=[None, None, "sft"]), {}).usable()
    assert mixed.table["loss"].tolist() == [3.0, 2.9]
    assert mixed.notes[-1] == "left out 1 of 3 rows: post-trained, with a loss of its own"
    assert len(check(table.assign(objective="sft"), {}).usable().table) == 3


def test_a_loss_that_is_minus_a_reward_stays_in_the_table_and_out_of_fits():
    table = pd.DataFrame({"n_params": [1e6, 2e6, 1e6, 1e6], "n_tokens": 1e8, "loss": [3.0, 2.9, -1.2, -3.0]})
    runs = check(table.assign(objective=[None, None, "ppo", None]), {})
    assert runs.table["loss"].tolist() == [3.0, 2.9, -1.2]
    assert [note for note in runs.notes if "loss" in note] == [
        "row 4: loss=-3.0 must be positive, row dropped"
    ]
    assert runs.usable().table["loss"].tolist() == [3.0, 2.9]
    alone = check(table.assign(objective="ppo"), {})
    assert len(alone.table) == 4 and alone.usable().table["loss"].tolist() == [3.0, 2.9]
    assert alone.usable().notes[-1] == "left out 2 of 4 rows: loss is not positive"


def test_foreign_names_are_read_and_said(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("N,Tokens, L \n1000,20000,3\n2000,40000,2.5\n")
    runs = read_runs(path)
    assert list(runs.table.loss) == [3, 2.5] and list(runs.table.n_tokens) == [20000, 40000]
    assert "read N as n_params, Tokens as n_tokens, L as loss" in runs.notes
    assert runs.conventions["n_params"] == "column N of the table; what is counted is not stated"
    assert runs.conventions["loss"].startswith("column L of the table; unit not stated")


@pytest.mark.parametrize("header", ["loss,n_params,loss", "loss,n_params, loss ", '"loss",n_params,loss'])
def test_two_columns_of_one_name_are_refused(tmp_path, header):
    path = tmp_path / "runs.csv"
    path.write_text(f"{header}\n1,2,3\n")
    with pytest.raises(ValueError, match=r"^runs\.csv: two columns are named 'loss'"):
        read_runs(path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", b""),
        ("a.csv", b"\xff\xfe\x00\x01,\n"),
        ("a.jsonl", b"{]"),
        ("a.parquet", b"PAR1"),
        ("a.txt", b"x"),
    ],
)
def test_unreadable_files_give_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_runs(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_an_empty_folder_are_kept_apart(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_runs(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"runs\.csv"):
        read_runs(tmp_path)


def test_a_table_of_bad_rows_is_refused():
    with pytest.raises(ValueError, match="none of 8 rows is usable; row 1: n_params=-1"):
        check(table(n_params=-1.0), {})


@pytest.mark.parametrize("value", ["-5", "nan", "many"])
def test_points_to_predict_must_all_be_good(tmp_path, value):
    path = tmp_path / "points.csv"
    path.write_text(f"n_params,n_tokens\n1e6,1e8\n{value},1e8\n")
    with pytest.raises(ValueError, match="row 2: n_params"):
        read_points(path)


def test_points_give_the_columns_that_are_asked_for(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("name,N,C,unique_tokens\na,1e6,1.2e14,1e6\n")
    given, points = read_points(path, needed=("n_params", "n_tokens", "unique_tokens"))
    assert {k: v.tolist() for k, v in points.items()} == {
        "n_params": [1e6],
        "n_tokens": [2e7],
        "unique_tokens": [1e6],
    }
    assert list(given.columns) == ["name", "N", "C", "unique_tokens"]
    path.write_text("params,tokens\n1e6,2e7\n")
    assert read_points(path, needed=("flops",))[1]["flops"][0] == pytest.approx(1.2e14)
    path.write_text("params,compute\n1e6,-1\n")
    with pytest.raises(ValueError, match="row 1: flops=-1 must be positive"):
        read_points(path)


def test_a_loss_that_no_law_reads_leaves_no_run_out():
    runs = check(
        pd.DataFrame({"k": [1, 2], "pass_at_k": [0.1, 0.2], "loss": np.nan}), {}, needed=("k", "pass_at_k")
    )
    assert len(runs.usable("pass_at_k", ("k",)).table) == 2


def test_what_is_taken_the_logarithm_of_must_be_positive():
    runs = check(table(epochs=[0, 1, 2, 3, 4, 5, 6, np.nan]), {}, needed=("n_params", "epochs", "loss"))
    assert runs.dropped == 1  # the missing one; none is no error where a law may read it
    assert len(runs.usable(columns=("epochs",)).table) == 7
    usable = runs.usable(columns=("epochs",), positive=("epochs",))
    assert len(usable.table) == 6 and usable.notes[-1] == "left out 1 of 7 rows: epochs is not positive"


cell = st.one_of(st.floats(), st.integers(-(10**30), 10**30), st.text(max_size=4), st.none(), st.just(1e30))


@settings(deadline=None)
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=12))
def test_whatever_is_in_the_cells_the_rows_are_clean_or_the_table_is_refused(rows):
    try:
        runs = check(pd.DataFrame(rows, columns=["n_params", "n_tokens", "loss"], dtype=object), {})
    except ValueError as error:
        assert f"none of {len(rows)} rows is usable" in str(error)
        return
    usable = runs.usable()
    assert len(usable.table) + usable.dropped == len(rows)
    numbers = usable.table[["n_params", "n_tokens", "flops", "loss"]].to_numpy(float)
    assert np.isfinite(numbers).all() and (numbers > 0).all()
