"""The page's section with a study's own pictures: drawn as they are, in its words, with its tables."""

from dataclasses import replace

import pandas as pd

from scaling.report import Picture
from scaling.report.page import PageHead, render
from scaling.report.sections import findings
from tests.scaling.report.test_report import EVIL

SIZE = (600).to_bytes(4) + (400).to_bytes(4)
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + SIZE


def test_pictures_lie_in_the_page_at_half_their_pixels_and_words_as_they_were_said(study):
    picture = Picture("p", EVIL, "what to see", PNG)
    section = findings.section(replace(study, pictures=[picture], conclusion=f"a  line\n{EVIL}"))
    page = render(PageHead("t", "k", [("h", False)], "", [], ""), [section], "")
    assert 'src="data:image/png;base64,iVBORw0KGgo' in page and 'width="300" height="200"' in page
    assert "a  line\n&lt;/script&gt;" in page and "what to see" in page and EVIL not in page


def test_a_table_shows_its_first_rows_and_numbers_sort_as_numbers(study):
    table = pd.DataFrame(
        {"name": ["a", None] * 150, "n": [20136.0, float("nan")] * 150, "loss": [1.23456, 0.5] * 150}
    )
    [shown] = findings.section(replace(study, findings={"Runs": table})).tables
    assert shown.title == "Runs, the first 200 of 300 rows" and len(shown.rows) == 200
    assert [column.text for column in shown.columns] == [True, False, False]
    assert [[cell.text for cell in row.cells] for row in shown.rows[:2]] == [
        ["a", "20,136", "1.235"],
        ["", "", "0.5"],
    ]
    assert shown.rows[0].cells[1].sort == 20136


def test_without_pictures_and_tables_there_is_no_section(study):
    assert findings.section(replace(study, conclusion="words")) is None
