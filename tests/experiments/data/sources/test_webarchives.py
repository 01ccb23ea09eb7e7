"""Web archives: what a page is, what is left out and counted, and reading on after what is broken."""

import gzip

import pytest
import zstandard

from experiments.data.document import Document
from experiments.data.sources.left_out import Skipped, totals
from experiments.data.sources.textfiles import records
from tests.extras import extra

extra("fastwarc", "web")

URL = "https://a.example/"


def record(kind: str, body: bytes, **headers: str) -> bytes:
    named = {"WARC-Type": kind, "WARC-Date": "2026-01-01T00:00:00Z", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return (
        ("WARC/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in named.items()) + "\r\n").encode()
        + body
        + b"\r\n\r\n"
    )


def response(
    content: bytes, kind: str = "text/html", status: str = "200 OK", url: str = URL, more: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}\r\n".encode()
    http = {"Content_Type": "application/http; msgtype=response", "WARC_Target_URI": url}
    return record("response", head + content, **http)


def page(words: str) -> bytes:
    return response(
        f"<title>t</title><nav><a href=x>Menu</a></nav><article><p>{words}</p></article>".encode(),
        "text/html; charset=utf-8",
    )


def gz(*parts: bytes) -> bytes:
    """As crawls are compressed: a member a record."""
    return b"".join(map(gzip.compress, parts))


def read(tmp_path, content: bytes, name: str = "a.warc.gz") -> tuple[list[str], dict[str, int]]:
    (tmp_path / name).write_bytes(content)
    skipped: Skipped = {}
    texts = [document.text for document in records(str(tmp_path / name), skipped=skipped)]
    return texts, totals(skipped)


def test_a_page_is_its_main_text_with_url_and_date(tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(
        gz(record("warcinfo", b"made by"), record("request", b"GET /"), page("Zwei Wörter"))
    )
    fields = {"url": URL, "date": "2026-01-01T00:00:00Z", "host": "a.example"}
    assert list(records(str(tmp_path))) == [Document("Zwei Wörter", fields)]


def test_wet_is_text_already(tmp_path):
    body = "Menu\nZwei Wörter <p>".encode()
    wet = record("conversion", body, WARC_Target_URI=URL, WARC_Identified_Content_Language="deu,eng")
    (tmp_path / "a.warc.wet.gz").write_bytes(gz(record("warcinfo", b""), wet))
    (document,) = records(str(tmp_path))
    assert document.text == body.decode() and document.fields["languages"] == "deu,eng"


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst"])
def test_all_compressions_are_read(tmp_path, name):
    pages = [page("one"), page("two")]
    contents = {
        "a.warc": b"".join(pages),
        "a.warc.gz": gz(*pages),
        "a.warc.zst": b"".join(map(zstandard.compress, pages)),
    }
    assert read(tmp_path, contents[name], name) == (["one", "two"], {})


def test_what_is_no_page_is_counted(tmp_path):
    others = [response(b"\x89PNG", "image/png"), response(b"gone", status="404 Not Found"), page(" ")]
    assert read(tmp_path, gz(*others, page("one"))) == (
        ["one"],
        {"not a text": 1, "status not 200": 1, "empty": 1},
    )


@pytest.mark.parametrize(
    "head, meta",
    [("; charset=iso-8859-2", ""), ("", "<meta charset=iso-8859-2>"), ("; charset=nobody-knows", "")],
)
def test_encodings_are_those_said_by_the_server_or_by_the_page(tmp_path, head, meta):
    words = "Zażółć gęślą jaźń, powiedział żółw do śledzia. " * 20
    html = response(f"{meta}<p>{words}</p>".encode("iso-8859-2"), "text/html" + head)
    (text,), _ = read(tmp_path, gz(html))
    assert text.split() == words.split()


def test_chunks_and_compression_of_the_server_are_undone(tmp_path):
    packed = gzip.compress(b"<p>one two</p>")
    body = f"{len(packed):x}\r\n".encode() + packed + b"\r\n0\r\n\r\n"
    more = "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n"
    assert read(tmp_path, gz(response(body, more=more))) == (["one two"], {})


def broken(kind: str) -> bytes:
    """A compressed record that cannot be read."""
    whole = page("lost")
    return {
        "no length": gzip.compress(whole.replace(b"Content-Length", b"Content-Longth")),
        "too long": gzip.compress(whole.replace(b"Content-Length: ", b"Content-Length: 9")),
        "no record": gzip.compress(b"something else\r\n\r\n"),
        "bits": bytes(byte ^ (0xFF if i == 30 else 0) for i, byte in enumerate(gzip.compress(whole))),
        "cut": gzip.compress(whole)[:60],
    }[kind]


@pytest.mark.parametrize("kind", ["no length", "too long", "no record", "bits", "cut"])
def test_reading_goes_on_after_a_broken_record(tmp_path, kind):
    content = gz(page("one")) + broken(kind) + gz(page("two")) + broken(kind) + gz(page("three"))
    assert read(tmp_path, content) == (["one", "two", "three"], {"broken record": 2})


def test_a_broken_record_may_be_the_first_or_the_last(tmp_path):
    content = broken("no record") + gz(page("one"), page("two"), page("three"))[:-40]
    assert read(tmp_path, content) == (["one", "two"], {"broken record": 2})


def test_a_broken_record_between_uncompressed_ones(tmp_path):
    content = page("one") + b"rubbish\r\n" + page("two")
    assert read(tmp_path, content, "a.warc") == (["one", "two"], {"broken record": 1})


def test_a_response_that_is_no_http_is_counted(tmp_path):
    nonsense = record("response", b"\0\1\2", Content_Type="application/http; msgtype=response")
    assert read(tmp_path, gz(nonsense, page("one"))) == (["one"], {"broken record": 1})


def test_what_is_no_archive_is_said(tmp_path):
    with pytest.raises(ValueError, match="no WARC record in it can be read"):
        read(tmp_path, b"hello " * 100)
    assert read(tmp_path, b"") == ([], {})


def test_an_html_file_is_a_document(tmp_path):
    assert read(tmp_path, "<nav>Menu</nav><p>Zwei Wörter".encode("latin-1"), "a.html") == (
        ["Zwei Wörter"],
        {},
    )
