"""Families on the page: a section that compares them, in place of one law."""

from scaling.report import data_of_table
from scaling.report.contents import build
from scaling.table.runs import check
from tests.scaling.optimum.test_families import table


def test_report_of_two_families_has_their_section_and_no_single_law():
    head, sections = build(data_of_table(check(table(), {}), "runs", "runs.csv"))
    made = {section.id: section for section in sections}
    assert "law" not in made and "transformer" in "".join(words for words, _ in head.headline)
    figures = [figure.name for figure in made["families"].figures]
    assert figures == ["families_frontier", "families_worth", "families_sizes", "families_params"]
