"""Names of columns: well-known ones are taken, unclear ones asked for, with the line to paste."""

import pandas as pd
import pytest

from scaling.table.column_names import unit_of, with_our_names
from scaling.table.header_units import name_and_unit

NEEDED = ("n_params", "n_tokens", "loss")


def table(*names):
    return pd.DataFrame([range(len(names))], columns=list(names))


def taken(*names, needed=NEEDED):
    return with_our_names(table(*names), {}, needed, "runs.csv")[1]


def refused(*names, columns=(), needed=NEEDED) -> str:
    with pytest.raises(ValueError, match=r"^runs\.csv: ") as error:
        with_our_names(table(*names), dict(columns), needed, "runs.csv")
    return str(error.value)


@pytest.mark.parametrize(
    "names, ours",
    [
        (("N", "D", "L"), {"n_params": "N", "n_tokens": "D", "loss": "L"}),
        (("params", "tokens", "loss"), {"n_params": "params", "n_tokens": "tokens"}),
        (("Model Size", "Training FLOP", "loss"), {"n_params": "Model Size", "flops": "Training FLOP"}),
        (("Parameters", "Training-Tokens", "Val Loss"),
         {"n_params": "Parameters", "n_tokens": "Training-Tokens", "loss": "Val Loss"}),
        (("N_params", "n_tokens", "loss", "run_name"), {"n_params": "N_params", "run_id": "run_name"}),
        (("n_params", "n_tokens", "loss", "val_loss", "compute"), {"flops": "compute"}),
        (("params (M)", "tokens_b", "loss (nats)"),
         {"n_params": "params (M)", "n_tokens": "tokens_b", "loss": "loss (nats)"}),
        (("params", "params (M)", "D", "loss"), {"n_params": "params", "n_tokens": "D"}),
        (("config/model/n_params", "config/train/tokens", "eval/tokens", "summary/val/loss", "config.lr"),
         {"n_params": "config/model/n_params", "n_tokens": "config/train/tokens", "loss": "summary/val/loss",
          "lr": "config.lr"}),
        (("N", "D", "loss", "config/model/name"), {"n_params": "N", "n_tokens": "D"}),
    ],
)  # fmt: skip
def test_what_can_mean_one_thing_only_is_taken(names, ours):
    assert taken(*names) == ours


def test_two_names_for_one_thing_are_asked_for():
    said = refused("N", "D", "train_loss", "val_loss")
    assert "loss may be val_loss or train_loss" in said and '--columns "loss=val_loss"' in said
    assert taken("N", "D", "loss", "run", "name") == {"n_params": "N", "n_tokens": "D"}  # nobody needs run_id


def test_a_name_that_says_what_is_counted_is_proposed_not_taken():
    said = refused("non_embedding_params", "t", "loss")
    assert (
        'no column n_params, n_tokens; say which, for example --columns "n_params=non_embedding_params,'
        in said
    )
    assert "n_tokens=t" in said


def test_compute_is_proposed_where_there_are_no_tokens():
    assert 'flops=c"' in refused("n_params", "c", "loss")


def test_two_paths_and_an_unknown_unit_are_asked_for():
    said = refused("config/n_params", "summary/n_params", "D", "loss")
    assert "n_params may be config/n_params or summary/n_params; say which" in said
    said = refused("N", "D", "loss (bits/byte)")
    assert (
        'loss may be loss (bits/byte), whose unit is not known; say which, for example --columns "loss='
        in said
    )
    assert "no column loss" in refused("N", "D", "loss_b")  # no losses are counted in billions


def test_what_is_spelt_nearly_so_is_proposed_if_it_has_numbers():
    assert refused("n_parmas", "tokns", "loss").endswith('--columns "n_params=n_parmas,n_tokens=tokns"')
    for note in (1.0, "good"):
        with pytest.raises(ValueError, match=r"no column n_tokens; left are Notes, loss$"):
            with_our_names(
                table("N", "loss").assign(Notes=note)[["N", "Notes", "loss"]], {}, NEEDED, "runs.csv"
            )
    with pytest.raises(ValueError, match=r"no column n_tokens; left are tokns, loss$"):
        with_our_names(table("N", "tokns", "loss").assign(tokns="many"), {}, NEEDED, "runs.csv")
    assert refused("N", "D").endswith("no column loss; left are none")


@pytest.mark.parametrize(
    "header, unit",
    [
        ("params (M)", 1e6),
        ("Params [in millions]", 1e6),
        ("tokens (B tokens)", 1e9),
        ("N_b", 1e9),
        ("tokens in trillions", 1e12),
        ("compute (PF-days)", 8.64e19),
        ("C (EFLOPs)", 1e18),
        ("flops (1e18)", 1e18),
        ("flops (FLOPs)", 1.0),
        ("n_params", None),
        ("d_model", None),
        ("params (active)", None),
    ],
)
def test_units_of_names(header, unit):
    found = name_and_unit(header)
    assert (found and found[1]) == unit
    assert unit_of("n_params", header) == (unit or 1.0)


def test_no_column_is_proposed_twice_or_from_nowhere():
    assert refused("N", "loss", "x").endswith("no column n_tokens; left are loss, x")
    assert refused("a", "b").endswith("left are a, b")


def test_what_the_user_has_said_is_in_the_line_to_paste():
    said = refused("size", "d", "loss", columns={"n_params": "size"})
    assert said.endswith('--columns "n_params=size,n_tokens=d"')


def test_what_the_user_says_goes_first():
    given = table("N", "params", "D", "loss", "smooth loss")
    columns = {"n_params": "params", "loss": "smooth loss"}
    read, found = with_our_names(given, columns, NEEDED, "runs.csv")
    assert read.n_params[0] == 1 and read.loss[0] == 4 and found == {"n_tokens": "D"}


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"loss": "los"}, "no column 'los' to use as loss; did you mean 'loss'"),
        ({"n_params": "N", "n_tokens": "N"}, "column 'N' is to be two of ours"),
    ],
)
def test_a_wrong_mapping_is_refused(columns, words):
    assert words in refused("N", "D", "loss", columns=columns)


def test_other_columns_of_a_law_are_found_however_they_are_spelt():
    assert taken("k", "Pass Rate", needed=("k", "pass_rate")) == {"pass_rate": "Pass Rate"}
