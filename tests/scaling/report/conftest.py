"""One synthetic study, one table and one rendered page, shared by the tests of the report."""

import pytest

from scaling.prediction.law_comparison import compare_laws
from scaling.report import Report, ReportData, data_of_table, render_report
from scaling.table.runs import Runs
from tests.scaling.report.synthetic_study import make_runs, study_data


@pytest.fixture(scope="session")
def study() -> ReportData:
    """A whole, finished study."""
    return study_data()


@pytest.fixture(scope="session")
def grid() -> ReportData:
    """A table of runs without stages: the study's IsoFLOP grid."""
    table = make_runs().query("stage in ('grid', 'extend')").drop(columns="stage").reset_index(drop=True)
    return data_of_table(Runs(table), "grid", "grid.csv")


@pytest.fixture(scope="session", autouse=True)
def laws_compared_once_a_table():
    """Most pages here show the same grid: its laws are compared for the first of them only."""
    found = {}

    def compared(runs: Runs, level: float, relax: bool):
        key = runs.usable().table[["n_params", "n_tokens", "loss"]].to_csv(), level, relax
        if key not in found:
            found[key] = compare_laws(runs, level=level, relax=relax)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling.report.sections.comparison.compare_laws", compared)
        yield


@pytest.fixture(scope="session")
def report(study) -> Report:
    """The study's page with all its figures."""
    return render_report(study)
