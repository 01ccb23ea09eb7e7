"""The page: what it is made of, and one HTML file that loads nothing."""

import base64
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import jinja2
from markupsafe import Markup

from scaling.report import theme

BUNDLE = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"


@dataclass(frozen=True)
class Figure:
    """One figure: `name` is its file name, `spec` a Vega-Lite dict, `caption` says what to see."""

    name: str
    title: str
    caption: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """One PNG that was drawn elsewhere, at twice its resolution; `name` is its file name without .png."""

    name: str
    title: str
    caption: str
    png: bytes

    @property
    def source(self) -> str:
        """The image itself as a URL."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels, from the PNG's header."""
        return int.from_bytes(self.png[16:20]) // 2, int.from_bytes(self.png[20:24]) // 2


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, the number it is sorted by, and its CSS class (`text` is left-aligned)."""

    text: str
    sort: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class TableRow:
    cells: list[Cell]
    mark: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    text: bool = False


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[Column]
    rows: list[TableRow]
    filter: bool = False


@dataclass(frozen=True)
class Snippet:
    """Text to copy; `file` is the name it is written under beside the page."""

    title: str
    file: str
    text: str


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    text: str = ""
    formula: str | Markup = ""
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # title -> (name, value)
    snippets: list[Snippet] = field(default_factory=list)
    calculator: dict[str, Any] = field(default_factory=dict)  # what calculator.py makes
    said: str = ""  # lines as they were printed
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class PageHead:
    """Top of the page. `headline` is text in pieces, (words, is the measured number); `notice` a warning."""

    title: str
    kicker: str
    headline: list[tuple[str, bool]]
    lede: str
    key: list[tuple[str, str, str]]  # name, value, note
    footer: str
    notice: str = ""


def start_bundling() -> subprocess.Popen[bytes]:
    """Starts making the script that holds the Vega libraries; some two seconds, beside other work."""
    command = [sys.executable, "-P", "-c", BUNDLE]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def bundled(process: subprocess.Popen[bytes]) -> str:
    """Waits for the script, about 0.9 MB.

    Raises:
      OSError: it could not be made.
    """
    script, _ = process.communicate()
    if process.returncode or not script:
        raise OSError(f"vl_convert could not bundle the Vega libraries; try: {sys.executable} -c {BUNDLE!r}")
    return script.decode()


def render(head: PageHead, sections: list[Section], vega: str, live: str = "") -> str:
    """The HTML. All text is escaped; only the scripts named in its security policy can run.

    Args:
      head: top of the page; sections: the rest.
      vega: the libraries, see `bundled`.
      live: of a page that is served while its study runs, its version: it asks the server for newer ones.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    specs = {figure.name: figure.spec for section in sections for figure in section.figures}
    calculators = [section.calculator for section in sections if section.calculator]
    own_scope = "(() => {" + vega.replace("</script", "<\\/script") + "})();"
    scripts = {"vega": own_scope, "script": theme.text("page.js")}
    scripts |= {"live_script": theme.text("live.js")} if live else {}
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts.values())
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    )
    policy += "; connect-src 'self'" if live else ""
    return environment.from_string(theme.text("page.html")).render(
        policy=policy,
        live=live,
        css=Markup(theme.text("page.css")),
        sections=sections,
        data=Markup(_json_in_html({"specs": specs, "calculator": calculators[0] if calculators else None})),
        **{name: Markup(script) for name, script in scripts.items()},
        **vars(head),
    )


def _json_in_html(value: Any) -> str:
    """JSON that cannot end the element it stands in, whatever strings it holds."""
    dumped = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
