"""A whole report: the HTML of the page, its figures as PNG and PDF, and the text for an appendix."""

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scaling.report import page, theme
from scaling.report.contents import build
from scaling.report.data import ReportData
from scaling.report.sections import missing

NOTHING_YET = [("No run is finished yet.", False)]


@dataclass(frozen=True)
class Report:
    """The content of every file of a report.

    Attributes:
      html: the page; figures: file name, NAME.png or NAME.pdf -> content.
      snippets: appendix.tex and appendix.md -> text, where there is one law.
    """

    html: str
    figures: dict[str, bytes]
    snippets: dict[str, str]


def live_page(data: ReportData, version: str) -> str:
    """The page of a study that runs, which asks whoever serves it for newer versions. Before any run has
    finished it says what is missing.

    Raises:
      OSError: the libraries that draw the page could not be bundled.
    """
    assert data.missing is not None
    if len(data.runs.table):
        head, sections = build(data)
    else:
        head = page.PageHead(data.name, f"Scaling study “{data.name}”", NOTHING_YET, "", [], "")
        sections = [missing.section(data.missing)]
    return page.render(head, sections, _libraries(), live=version)


@functools.cache
def _libraries() -> str:
    with page.start_bundling() as bundling:
        return page.bundled(bundling)


def render_report(data: ReportData, with_forecast: bool = False) -> Report:
    """The report; with_forecast adds the section on bottlenecks (`scaling.outlook.projection`).

    Raises:
      OSError: the libraries that draw the page could not be bundled.
    """
    # Figures are drawn, and the libraries bundled, outside this interpreter and beside what it does.
    with page.start_bundling() as bundling, ThreadPoolExecutor(1) as pool:
        pool.submit(theme.warm_up)
        head, sections = build(data, with_forecast)
        figures = [figure for section in sections for figure in section.figures]
        images = {
            f"{figure.name}.{kind}": pool.submit(draw, figure.spec)
            for figure in figures
            for kind, draw in (("png", theme.png), ("pdf", theme.pdf))
        }
        html = page.render(head, sections, page.bundled(bundling))
    snippets = {snippet.file: snippet.text for section in sections for snippet in section.snippets}
    return Report(html, {name: image.result() for name, image in images.items()}, snippets)
