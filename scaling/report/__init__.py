"""The report of runs and fits: a self-contained HTML page, its figures, and text for a paper's appendix.

No file is read or written here: `experiments.study_report` reads a study's folder or a table, and writes what
`render_report` returns. In it are

  data       ReportData, everything a page shows, from runs and fits
  tables     plain tables that figures draw; charts: the figures, Vega-Lite; theme: their looks
  contents   which sections a page has, in order; sections/: the larger ones, one a file
  page       a page's parts (Section, Figure, Table, …) and its HTML; render: the whole report

It imports the other sub-packages of `scaling`; of them none imports it.
"""

from scaling.report.data import MissingRuns, ReportData, data_of_study, data_of_table
from scaling.report.page import Picture
from scaling.report.render import Report, live_page, render_report

__all__ = [
    "MissingRuns",
    "Picture",
    "Report",
    "ReportData",
    "data_of_study",
    "data_of_table",
    "live_page",
    "render_report",
]
