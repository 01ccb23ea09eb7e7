"""Web pages as crawls keep them: WARC files (pages), WET files (their text) and single HTML files.

A record that is broken is left out and counted, and reading goes on at the next one: every record of a
compressed crawl is a member of its own. fastwarc reads archives and resiliparse makes text of HTML
(Bevendorff et al. 2018, 2021); both come with the extra `web`.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.data.document import Document, host_of
from experiments.data.sources.left_out import LeftOut
from experiments.files.extras import install_command

TEXT_TYPES = {"text/html", "application/xhtml+xml", "text/plain"}
STARTS = {  # what a record begins with, by the file's suffix
    ".gz": re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"),
    ".zst": re.compile(rb"\x28\xb5\x2f\xfd"),
}
PLAIN_START = re.compile(rb"WARC/1\.[01]\r\n")


def read_html(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    """The main text of one HTML file; `text_field` changes nothing."""
    _needs_extra(file)
    yield Document(html_text(file.read_bytes(), None))


def read_archive(file: Path, text_field: str) -> Iterator[Document | LeftOut]:
    """Pages of a WARC or WET file with their url, its host, date and the crawl's own languages ("eng,deu").

    Pages are responses of status 200 that are HTML (their main text: no menus, no footers) or plain text, and
    conversions, which are text already. `text_field` changes nothing.

    Raises:
      ValueError: no record at all can be read.
    """
    n_records = 0
    for record in _records(file):
        if isinstance(record, LeftOut):
            yield record
            continue
        n_records += 1
        kind = record.headers.get("WARC-Type")
        if kind not in ("response", "conversion"):
            continue
        text = record.reader.read().decode("utf-8", "replace") if kind == "conversion" else _page(record)
        yield text if isinstance(text, LeftOut) else Document(text, _fields(record))
    if not n_records and file.stat().st_size:
        raise ValueError(f"{file}: no WARC record in it can be read; is it a web archive, and whole?")


def html_text(html: bytes, charset: str | None) -> str:
    """The main text of a page in the encoding that is said, or else that its meta tag or its bytes show."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    try:
        page = bytes_to_str(html, charset or detect_encoding(html, from_html_meta=True) or "utf-8")
    except LookupError:  # an encoding that nobody knows
        page = bytes_to_str(html, detect_encoding(html) or "utf-8")
    return extract_plain_text(page, main_content=True)


def _page(record: Any) -> str | LeftOut:
    """The text of a response, or why there is none."""
    try:
        record.parse_http(auto_decode="all")
        status, kind = record.http_headers.status_code, (record.http_content_type or "").lower()
        if status is None:
            raise OSError("no status line")
        if status != 200:
            return LeftOut("status not 200")
        if kind not in TEXT_TYPES:
            return LeftOut("not a text")
        content = record.reader.read()
    except (AttributeError, OSError):  # no HTTP response, or one that cannot be decoded
        return LeftOut("broken record")
    return html_text(content, record.http_charset)


def _fields(record: Any) -> dict[str, str]:
    names = {"WARC-Target-URI": "url", "WARC-Date": "date", "WARC-Identified-Content-Language": "languages"}
    values = {field: record.headers.get(name) for name, field in names.items()}
    host = host_of(values["url"] or "")
    return {field: value for field, value in (values | {"host": host}).items() if value}


def _records(file: Path) -> Iterator[Any]:
    """The whole records of an archive; after a broken one, those from the next beginning on."""
    fastwarc = _needs_extra(file)
    start = STARTS.get(file.suffix.lower(), PLAIN_START)
    with open(file, "rb") as stream:
        position, in_gap = 0, False
        while True:
            stream.seek(position)
            try:
                for record in fastwarc.ArchiveIterator(stream, parse_http=False):
                    position, declared = record.stream_pos, record.content_length
                    record.freeze()
                    if record.content_length < declared or not record.headers.get("Content-Length"):
                        raise OSError("a record is cut short, or has no length")
                    in_gap = False
                    yield record
                return
            except OSError:
                if not in_gap:
                    yield LeftOut("broken record")
                in_gap = True
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = start.search(content, position + 1)
            if not found:
                return
            position = found.start()


def _needs_extra(file: Path) -> Any:
    try:
        import fastwarc
        import resiliparse.extract.html2text  # noqa: F401
    except ImportError:
        raise ValueError(f"{file}: web pages need two more libraries: {install_command('web')}") from None
    return fastwarc
