"""The report: a study directory or a table of runs in, a self-contained HTML page and its figures out."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from scaling.report import page, theme
from scaling.report.contents import build
from scaling.report.data import load
from scaling.report.sections.missing import Missing

__all__ = ["Missing", "write_report"]


def write_report(
    source: Path,
    out: Path,
    fit: Path | None = None,
    columns: dict[str, str] | None = None,
    with_forecast: bool = False,
    missing: Missing | None = None,
) -> Path:
    """Writes the page of a study directory or table to `out`.

    Beside it lie each figure as figures/NAME.png and NAME.pdf and, where there is one law, the fit with its
    conventions as appendix.tex and appendix.md.

    `fit` is a fit.json; without it the directory's own is used, or a law is fitted here. `columns` renames
    the columns of a foreign table, as in `scaling.read_runs`. `with_forecast` adds the forecast of
    bottlenecks (`scaling.outlook.projection`). `missing` is what of an unfinished study is not there yet:
    the page
    says so. Returns `out`.

    Raises:
      ValueError: a file is not what it should be, or holds no runs.
      OSError: a file cannot be read or written.
    """
    data = replace(load(Path(source), fit, columns), missing=missing)
    # Figures are drawn, and the libraries packed, outside this interpreter and beside what it does.
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
    folder = out.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        _write(folder / name, image.result())
    for section in sections:
        for snippet in section.snippets:
            _write(out.parent / snippet.file, snippet.text.encode())
    _write(out, html.encode())
    return out


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: temporary name, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
