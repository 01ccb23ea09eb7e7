"""A whole report: the HTML of the page, its figures as PNG and PDF, and the text for an appendix."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scaling.report import page, theme
from scaling.report.contents import build
from scaling.report.data import ReportData


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
