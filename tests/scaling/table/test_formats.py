"""Files of rows: every dialect gives the same table, and what is ambiguous is refused in one line."""

import gzip
import io
import json
import os

import numpy as np
import pandas as pd
import pytest

from scaling.table.formats import as_csv, read_table

ROWS = pd.DataFrame(
    {"n_params": [1e6, 7e10], "loss": [3.25, 1.9], "name": ["a", "b, c"], "n_tokens": [2 * 10**13, 5]}
)


def read(tmp_path, content: bytes | str, name="runs.csv") -> pd.DataFrame:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


def refused(tmp_path, content, name="runs.csv") -> str:
    with pytest.raises(ValueError) as error:
        read(tmp_path, content, name)
    assert name in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_in_every_dialect(tmp_path, separator, packed):
    path = tmp_path / f"runs.csv{packed}"
    ROWS.to_csv(path, sep=separator, index=False)
    pd.testing.assert_frame_equal(read_table(path), ROWS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_the_first_name(tmp_path, encoding):
    table = read(tmp_path, "größe,loss\r\n1,2.5\r\n".encode(encoding))
    assert list(table.columns) == ["größe", "loss"] and table.loss[0] == 2.5


def test_decimal_commas(tmp_path):
    table = read(tmp_path, "n_params;loss\n1000000;3,125\n2e6;2,75\n")
    assert list(table.loss) == [3.125, 2.75]


def test_commas_that_no_cell_explains_stay_text(tmp_path):
    for content in ("n_params;n_tokens\n7,121;950,000\n", "n_params;n_tokens\n7,121,395;3,25\n"):
        table = read(tmp_path, content)
        assert table.n_params[0] in ("7,121", "7,121,395")
    assert read(tmp_path, "lr;loss\n0,001;3,125\n").loss[0] == 3.125


def test_thousands_are_never_taken_for_decimals(tmp_path):
    with_points = read(tmp_path, "n_params;loss\n1,000;3.125\n2,000,000;2.75\n")
    assert list(with_points.n_params) == ["1,000", "2,000,000"]  # text: refused when rows are checked
    assert "more fields than its header" in refused(tmp_path, "n_params,loss\n1,000,3.1\n2,000,2.7\n")
    quoted = read(tmp_path, 'n_params,loss\n"1,000",3.1\n')
    assert quoted.n_params[0] == "1,000"


def test_rows_that_end_in_a_separator(tmp_path):
    table = read(tmp_path, "n_params,loss,\n1,3.1,\n2,2.7,\n")
    assert list(table.n_params) == [1, 2] and list(table.columns) == ["n_params", "loss"]


def test_the_index_that_pandas_writes_is_no_column(tmp_path):
    ROWS.to_csv(tmp_path / "runs.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "runs.csv"), ROWS)


RECORDS = ROWS.to_dict("records")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS, indent=1),
        "\n".join(map(json.dumps, RECORDS)),
        ROWS.to_json(double_precision=15),
        json.dumps(ROWS.to_dict("list")),
    ],
)
@pytest.mark.parametrize("name", ["runs.json", "runs.jsonl"])
def test_json_in_every_shape(tmp_path, text, name):
    table = read(tmp_path, text, name).reset_index(drop=True)
    pd.testing.assert_frame_equal(table, ROWS, check_dtype=False)


def test_json_keeps_large_numbers_missing_values_and_nested_ones(tmp_path):
    lines = '{"n": 1000000000000000000000, "config": {"lr": 1e-3}}\n\n{"n": NaN, "loss": null}\n'
    table = read(tmp_path, lines, "runs.jsonl")
    assert table.n[0] == 1e21 and table["config.lr"][0] == 1e-3 and np.isnan(float(table.n[1]))


def test_the_index_of_a_parquet_file_may_be_a_column(tmp_path):
    path = tmp_path / "runs.parquet"
    ROWS.set_index("name").to_parquet(path)
    assert set(read_table(path).columns) == set(ROWS.columns)


@pytest.mark.parametrize(
    "content, name, words",
    [
        (b"", "runs.csv", "it is empty"),
        (b" \n", "runs.json", "it is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "runs.csv", "not UTF-8"),
        (b"a,b\n1,\x00\n", "runs.csv", "not text"),
        ("Größe,loss\n1,2\n".encode("latin-1"), "runs.csv", "not UTF-8"),
        (b"a,b\n1,2\n1,2,3\n", "runs.csv", "Expected 2 fields in line 3, saw 3"),
        (b'a,b\n"1,2\n', "runs.csv", "EOF inside string"),
        (b'{"a": 1}\n{"a": \n', "runs.jsonl", "line 2 is not JSON"),
        (b"[[1, 2], [3, 4]]", "runs.json", "expected a list of objects"),
        (b"3", "runs.json", "expected a list of objects"),
        (b"[" * 100_000, "runs.json", "not a readable .json"),
        (b"PAR1", "runs.parquet", "not a readable .parquet"),
        (b"a,b\n", "runs.csv.gz", "not a readable .csv"),
        (b"a,b\n", "runs.csv.zst", "not a readable .csv"),
        (b"x", "runs.xlsx", "cannot tell its format from '.xlsx'"),
        (b"x", "runs", "cannot tell its format from ''"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path, content, name, words):
    assert words in refused(tmp_path, content, name)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match="does not exist; expected a study's directory or a file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"not a readable \.csv table: Is a directory"):
        read_table(tmp_path / "folder.csv")


def test_what_unpacks_to_more_than_a_table_is_refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_MAX_TABLE_MB", "1")
    blank = b"loss\n" + b"\n" * (1 << 20)
    for name, content in {"runs.csv": blank, "runs.csv.gz": gzip.compress(blank)}.items():
        assert "unpacked it is more than 1 MB" in refused(tmp_path, content, name)
    parquet = io.BytesIO()
    pd.DataFrame({"loss": np.zeros(1 << 18)}).to_parquet(parquet)
    assert len(parquet.getvalue()) < 1 << 14
    assert "set ISOFLOP_MAX_TABLE_MB to allow more" in refused(tmp_path, parquet.getvalue(), "runs.parquet")
    monkeypatch.setenv("ISOFLOP_MAX_TABLE_MB", "2")
    assert len(read(tmp_path, parquet.getvalue(), "runs.parquet")) == 1 << 18


def test_a_pipe_is_no_table_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "runs.csv")
    with pytest.raises(ValueError, match="is a pipe or a device; expected a file"):
        read_table(tmp_path / "runs.csv")


def test_written_text_is_no_formula_and_numbers_stay_as_they_are(tmp_path):
    table = pd.DataFrame({"task": ["=1+1", "-x", "web", None], "loss": [-1.5, 2.0, np.nan, 1e-300], "n": 4})
    written = as_csv(table)
    assert written.splitlines() == ["task,loss,n", "'=1+1,-1.5,4", "'-x,2.0,4", "web,,4", ",1e-300,4"]
    assert as_csv(table.drop(columns="task")) == table.drop(columns="task").to_csv(index=False)
    assert as_csv(table.rename(columns={"n": "@n"})).startswith("task,loss,'@n")
