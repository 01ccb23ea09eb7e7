"""One synthetic study, one table and one rendered page, shared by the tests of the report."""

import pytest

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


@pytest.fixture(scope="session")
def report(study) -> Report:
    """The study's page with all its figures."""
    return render_report(study)
