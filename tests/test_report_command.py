"""isoflop report: where the page goes, and one clear line where the input is wrong."""

import pytest

from launch.cli import main
from tests.synthetic_study import make_runs


@pytest.fixture
def table(tmp_path):
    runs = make_runs()
    columns = ["run_id", "n_params", "n_tokens", "flops", "loss"]
    runs.loc[runs["stage"].isin(["grid", "extend"]), columns].to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_report_of_a_table_lies_beside_it(table, capsys):
    assert main(["report", str(table)]) == 0
    assert capsys.readouterr().out.strip() == str(table.parent / "report.html")
    assert "The frontier" in (table.parent / "report.html").read_text()
    assert (table.parent / "figures" / "frontier.png").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["{folder}/nothing"], "does not exist"),
        (["{table}", "--fit", "{folder}/nothing.json"], "nothing.json"),
        (["{table}", "--fit", "{table}"], "is not JSON"),
        (["{table}", "--out", "{folder}/no/such/report.html"], "folder that exists"),
        (["{table}", "--columns", "n_params=N"], "no column 'N'"),
        ([], "expected one study directory"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(table, arguments, said, capsys):
    before = sorted(table.parent.rglob("*"))
    filled = [argument.format(folder=table.parent, table=table) for argument in arguments]
    assert main(["report", *filled]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(table.parent.rglob("*")) == before
